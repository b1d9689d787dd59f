"""Files that are written as a whole or not at all, and what to say when the disk refuses."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


class StoreError(OSError):
    """The disk refused what the store needs; the message names the path and what to do. Nothing finished is lost."""


@contextmanager
def atomic_write(path: Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends well; until then `path` stays as it was.

    What it was is kept under the name `previous`, unless that is None.

    Raises:
        StoreError: The disk refused. `path` is then what it was before.
    """
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors_explained(path):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    with suppress(OSError):  # the rename itself outlasts a power cut, where that can be asked for (not on Windows)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, in UTF-8; a `StoreError` says that the disk refused."""
    with atomic_write(path) as file:
        file.write(text.encode())


@contextmanager
def disk_errors_explained(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into a StoreError that says what to do about `path`."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        explained = StoreError(
            f"{explanation(error, path)} What is finished is kept; the same command typed again goes on from there."
        )
        explained.errno = error.errno
        raise explained from error


def explanation(error: OSError, path: Path) -> str:
    """Return what an error of the operating system means for `path`, and what to do."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"No space is left on the disk for {path}: free some or name another folder for the results."
        case errno.EFBIG:
            return f"{path} is larger than files may be here (ulimit -f): raise that limit."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"Writing {path} is not permitted: change that or name another folder for the results."
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR:
            return f"{path} cannot be made: a file is where a folder is needed, or the other way round. Move it away."
        case errno.ENOSYS | errno.ENOLCK | errno.EOPNOTSUPP:
            return f"The file system of {path} offers no locks (flock): name a folder for the results on one that does."
        case _:
            return f"{path} cannot be written: {error.strerror or error}."


def complete_lines(content: bytes) -> bytes:
    """Return `content` up to its last line end."""
    return content[: content.rfind(b"\n") + 1]
