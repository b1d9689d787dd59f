"""Files that may come from somebody else: text, JSON, images, arrays and parquet, bounded in size, length and depth."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:  # it takes a second, which files without tables should not cost
    import pyarrow

MEBIBYTE = 1024**2

CONFIG_BYTES = MEBIBYTE // 4  # of a config; that of a run takes 5 to 10 kB, and a megabyte of YAML takes seconds
CONFIG_DEPTH = 30  # of a config: objects in lists in objects; that of a run is 6 deep
JSON_BYTES = 256 * MEBIBYTE  # of JSON or lines of it; the history of 600 epochs in the DARTS space takes 10 MB
JSON_DEPTH = 50  # of JSON; that of a history is 5 deep
TEXT_BYTES = MEBIBYTE  # of a text that is read for the report, such as the reading of an analysis
GENOTYPE_CHARACTERS = 100_000  # of a genotype in any form; it takes a few hundred

PICTURE_PIXELS = 80_000_000  # Pillow warns from 89 million on; a camera's pictures have 10 to 60 million
PICTURE_BYTES = 64 * MEBIBYTE  # of a picture of a run, as a file
# Pillow knows more formats, and hands one of those, EPS, to Ghostscript, which runs it as a program.
PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

TABLE_BYTES = 64 * MEBIBYTE  # of the NAS-Bench-201 table, as a file and in memory; the whole table takes 3 MB
TABLE_ROWS = 100_000  # of that table; there are 15,625 architectures
LINE_BYTES = 64 * 1024  # of the names of its columns, as a line of text

EXPANSION = 20  # how many times a parquet file of images, which are compressed already, may grow in memory
EXPANSION_FREE = 256 * MEBIBYTE  # what such a file may take in memory, however small it is


def checked(path: Path, root: Path, limit: int) -> Path:
    """Return `path` if it is a file of at most `limit` bytes that lies in the folder `root`, links followed.

    A link to a file elsewhere would have its content shown, and copied into reports that are passed on.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It is something else than such a file.
    """
    found = path.stat()
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"{path} is a link that leads out of {root}, to {path.resolve()}, and is not opened. Put the file itself "
            "there."
        )
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is no file but a folder, a pipe or a device, and is not opened.")
    if found.st_size > limit:
        raise ValueError(f"{path} has {found.st_size:,} bytes, and such a file has at most {limit:,}; it is not read.")
    return path


def read_bytes(path: Path, root: Path, limit: int) -> bytes:
    """Return the content of a file; it is refused as by `checked`."""
    with checked(path, root, limit).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew, or its size is not known beforehand
        raise ValueError(f"{path} has more than {limit:,} bytes, and is not read.")
    return content


def read_text(path: Path, root: Path, limit: int) -> str:
    """Return the text of a file; it is refused as by `checked`, and where it is no UTF-8."""
    try:
        return read_bytes(path, root, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}).") from error


def read_json(path: Path, root: Path) -> Any:
    """Return what a JSON file says; it is refused as by `checked` and `parse_json`."""
    text = read_text(path, root, JSON_BYTES)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from error


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says; a ValueError says that it is no JSON, or nested too deeply to be worked with."""
    too_deep = f"it is nested more than {JSON_DEPTH} deep"
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    parts = [value]
    for _ in range(JSON_DEPTH + 1):
        collections = [part for part in parts if isinstance(part, dict | list)]
        if not collections:
            return value
        parts = [part for whole in collections for part in (whole.values() if isinstance(whole, dict) else whole)]
    raise ValueError(too_deep)


def nodes(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield everything within plain data, with the dotted place where it stands."""
    yield place, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from nodes(part, f"{place}.{key}" if place else str(key))


def printable(text: str) -> str:
    """Return a text without control characters, which a terminal would obey."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


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


def open_array(path: Path) -> NDArray[np.uint8]:
    """Open an array of pixels `(H, W, C)` that `numpy.save` wrote; those of `(H, W)` have one channel.

    The values are read later: what an array takes in memory, it takes on disk.

    Raises:
        ValueError: It is none, or none of bytes, or too large.
    """
    array = np.lib.format.open_memmap(path, mode="r")  # of whatever needs a pickle it says a ValueError
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size:
        found = f"{array.dtype} of the shape {array.shape}"
        raise ValueError(f"it holds {found}, and images are arrays (H, W) or (H, W, C) of uint8, from 0 to 255")
    if array.shape[0] * array.shape[1] > PICTURE_PIXELS:
        raise ValueError(f"it has {array.shape[1]} x {array.shape[0]} pixels, and at most {PICTURE_PIXELS:,} are read")
    return array if array.ndim == 3 else array[:, :, None]


def read_parquet(path: Path, limit: int, rows: int | None = None) -> "pyarrow.Table":
    """Return the table in a file, of at most `limit` bytes in memory and, unless it is None, at most so many `rows`.

    A value that a column repeats takes its room once in the file and once per row in memory. So rows are read in
    batches that cannot be larger than `limit` each, and no more of them than fit.

    Raises:
        ValueError: It is no parquet file, or too large.
    """
    import pyarrow
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
        columns = [[group.column(number) for number in range(group.num_columns)] for group in groups]
        # No value is larger than the group of rows that it is in.
        largest = max((sum(column.total_uncompressed_size for column in group) for group in columns), default=0)
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
