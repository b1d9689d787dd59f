"""What data are, as a short text: equal for equal data, without decoding any."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

CONTENT_LIMIT = 2 * 1024**3  # bytes; above, reading everything would take longer than it is worth


def digest(*parts: object) -> str:
    """Return the SHA-256 of `parts`, which are told apart by type and position."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of files: their names relative to `root`, sizes and contents.

    When the files have more than 2 GiB in total, names and sizes alone count. Where `root` lies never counts.
    """
    described = sorted((file.relative_to(root).as_posix() if file != root else file.name, file) for file in files)
    sizes = [file.stat().st_size for _, file in described]
    whole = sum(sizes) <= CONTENT_LIMIT
    return digest(
        *((name, size, _content(file) if whole else None) for (name, file), size in zip(described, sizes, strict=True))
    )


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
