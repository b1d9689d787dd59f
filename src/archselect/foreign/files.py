"""Files in a folder that may come from somebody else."""

import stat
from pathlib import Path


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
