"""Parquet files and encoded images that may come from somebody else."""

from collections.abc import Callable, Sequence
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


def read_parquet(path: Path, columns: Callable[[str], bool], limit: int, rows: int | None = None) -> "pyarrow.Table":
    """Return a table of those of a file's columns that are wanted.

    A value that a column repeats takes its room once in the file and once per row in memory. So rows are read in
    batches that cannot be larger than `limit` each, and no more of them than fit.

    Args:
        path: The file.
        columns: Which columns are wanted, by name.
        limit: How many bytes the columns may take in memory.
        rows: How many rows there may be; None: any number.

    Raises:
        ValueError: It is no parquet file, or too large.
    """
    import pyarrow  # takes a second, which data without tables should not cost
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        wanted = [name for name in file.schema_arrow.names if columns(name)]
        _check_rows(file.metadata.num_rows, rows, path)
        largest = _largest_chunk(file.metadata, wanted)
        if largest > limit:
            raise ValueError(_too_large(path, limit))
        batches, size = [], 0
        for batch in file.iter_batches(max(1, min(65_536, limit // max(1, largest))), columns=wanted):
            size += batch.nbytes
            if size > limit:
                raise ValueError(_too_large(path, limit))
            batches.append(batch)
        schema = pyarrow.schema([file.schema_arrow.field(name) for name in wanted])
        return pyarrow.Table.from_batches(batches, schema if not batches else batches[0].schema)
    except (pyarrow.ArrowException, OSError, MemoryError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} cannot be read as a parquet file ({error}). Replace it, or name another.") from error


def _largest_chunk(metadata: "pyarrow.parquet.FileMetaData", wanted: Sequence[str]) -> int:
    """Return the size of the largest part of a column that the file keeps together, which no value is larger than."""
    return max(
        (
            sum(
                chunk.total_uncompressed_size
                for chunk in map(metadata.row_group(group).column, range(metadata.num_columns))
                if chunk.path_in_schema.split(".")[0] in wanted
            )
            for group in range(metadata.num_row_groups)
        ),
        default=0,
    )


def _check_rows(found: int, allowed: int | None, path: Path) -> None:
    if allowed is not None and found > allowed:
        raise ValueError(f"{path} has {found:,} rows, and such a table has at most {allowed:,}; it is not read.")


def _too_large(path: Path, limit: int) -> str:
    return (
        f"{path} takes more than {limit:,} bytes in memory, many times its size on disk: it may be made to exhaust "
        "this machine, and is not read. If it is meant so, write it anew without compression and dictionaries."
    )
