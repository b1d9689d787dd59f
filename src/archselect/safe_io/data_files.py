"""Parquet files and encoded images that may come from somebody else."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from archselect.safe_io.files import PICTURE_FORMATS, PICTURE_PIXELS


def open_picture(file: Path | BinaryIO) -> Image.Image:
    """Open an image; its pixels are decoded later.

    Raises:
        ValueError: It has too many pixels; nothing is decoded.
        OSError: It is no image, or in a format that is not decoded.
        PIL.Image.DecompressionBombError: Likewise too many pixels, said by Pillow.
    """
    image = Image.open(file, formats=PICTURE_FORMATS)
    if image.width * image.height > PICTURE_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ValueError(f"it has {size} pixels, and at most {PICTURE_PIXELS:,} are decoded")
    return image


if TYPE_CHECKING:
    import pyarrow


def read_parquet(path: Path, limit: int, rows: int | None = None) -> "pyarrow.Table":
    """Return the table in a file.

    A value that a column repeats takes its room once in the file and once per row in memory. So rows are read in
    batches that cannot be larger than `limit` each, and no more of them than fit.

    Args:
        path: The file.
        limit: How many bytes the table may take in memory.
        rows: How many rows there may be; None: any number.

    Raises:
        ValueError: It is no parquet file, or too large.
    """
    import pyarrow  # takes a second, which data without tables should not cost
    from pyarrow import parquet

    too_large = (
        f"{path} takes more than {limit:,} bytes in memory, many times its size on disk: it may be made to exhaust "
        "this machine, and is not read. If it is meant so, write it anew without compression and dictionaries."
    )
    try:
        file = parquet.ParquetFile(path)
        if rows is not None and (found := file.metadata.num_rows) > rows:
            raise ValueError(f"{path} has {found:,} rows, and such a table has at most {rows:,}; it is not read.")
        groups = map(file.metadata.row_group, range(file.num_row_groups))
        # No value is larger than the group of rows that it is in.
        largest = max((sum(_sizes(group)) for group in groups), default=0)
        if largest > limit:
            raise ValueError(too_large)
        batches, size = [], 0
        for batch in file.iter_batches(max(1, min(65_536, limit // max(1, largest)))):
            size += batch.nbytes
            if size > limit:
                raise ValueError(too_large)
            batches.append(batch)
        return pyarrow.Table.from_batches(batches, batches[0].schema if batches else file.schema_arrow)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, MemoryError) as error:
        raise ValueError(f"{path} cannot be read as a parquet file ({error}). Replace it, or name another.") from error


def _sizes(group: "pyarrow.parquet.RowGroupMetaData") -> list[int]:
    return [group.column(number).total_uncompressed_size for number in range(group.num_columns)]
