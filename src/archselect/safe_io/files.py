"""Files that may come from somebody else: text and JSON, bounded in size, length and depth."""

import json
import stat
from pathlib import Path
from typing import Any

MEBIBYTE = 1024**2

CONFIG_BYTES = MEBIBYTE // 4
"""Of a config; that of a run takes 5 to 10 kB, and a megabyte of YAML takes seconds."""

CONFIG_DEPTH = 30
"""Of a config: objects in lists in objects; that of a run is 6 deep."""

JSON_BYTES = 256 * MEBIBYTE
"""Of a file of JSON or of its lines; the longest, the history of 600 epochs in the DARTS space, takes 10 MB."""

JSON_DEPTH = 50
"""Of JSON; that of a history is 5 deep."""

TEXT_BYTES = MEBIBYTE
"""Of a text that is read for the report, such as the reading of an analysis."""

GENOTYPE_CHARACTERS = 100_000
"""Of a genotype in any form; it takes a few hundred."""

PICTURE_PIXELS = 80_000_000
"""Of a picture; Pillow warns from 89 million on. A camera's have 10 to 60 million."""

PICTURE_BYTES = 64 * MEBIBYTE
"""Of a picture of a run, as a file."""

PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is decoded. Pillow knows more, and hands one of those, EPS, to Ghostscript, which runs it as a program."""

TABLE_BYTES = 64 * MEBIBYTE
"""Of the NAS-Bench-201 table, as a file and in memory; that of all architectures takes 3 MB."""

TABLE_ROWS = 100_000
"""Of the NAS-Bench-201 table; there are 15,625 architectures."""

LINE_BYTES = 64 * 1024
"""Of the names of its columns, as a line of text."""

EXPANSION = 20
"""How many times a parquet file of images may grow in memory; images are compressed already and grow by little."""

EXPANSION_FREE = 256 * MEBIBYTE
"""What such a file may take in memory, however small it is."""


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
    """Return the content of a file; see `checked`."""
    with checked(path, root, limit).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew, or its size is not known beforehand
        raise ValueError(f"{path} has more than {limit:,} bytes, and is not read.")
    return content


def read_text(path: Path, root: Path, limit: int) -> str:
    """Return the text of a file; see `checked`."""
    try:
        return read_bytes(path, root, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}).") from error


def printable(text: str) -> str:
    """Return a text without control characters, which a terminal would obey."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: It is no JSON, or nested too deeply to be worked with.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    within = [value]
    for _ in range(JSON_DEPTH + 1):
        within = [part for part in within if isinstance(part, dict | list)]
        if not within:
            return value
        within = [part for whole in within for part in (whole.values() if isinstance(whole, dict) else whole)]
    raise ValueError(_too_deep())


def read_json(path: Path, root: Path) -> Any:
    """Return what the JSON file at `path` says; see `files.checked`.

    Raises:
        ValueError: It is no such file, or no JSON.
    """
    text = read_text(path, root, JSON_BYTES)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from error


def _too_deep() -> str:
    return f"it is nested more than {JSON_DEPTH} deep"
