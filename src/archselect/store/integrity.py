"""What is wrong with a stage's folder, if anything: damaged files are noticed before they are used."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archselect.safe_io.files import parse_json
from archselect.store.atomic_io import complete_lines
from archselect.store.key import StageKey, canonical

MARKER = "finished.json"
IDENTITY = "identity.json"
SCRATCH = "scratch"
"""A folder for what only an unfinished stage needs."""
CHECKPOINTS = ("checkpoint.ckpt", "previous.ckpt")
"""The newest, and the one before it in case that is damaged; an unfinished stage has them."""


class DamagedError(ValueError):
    """What an unfinished stage needs to go on cannot be read."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size in bytes and SHA-256 of every file that a finished stage keeps, by its path in the folder."""
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in files.items()
        if name.parts[0] not in (MARKER, SCRATCH, *CHECKPOINTS) and not name.name.startswith(".")
    }


def integrity_errors(folder: Path, key: StageKey, contents: bool) -> Iterator[str]:
    """Yield what is wrong with the folder of a stage, which need not exist, in a few words each.

    Without `contents`, only the identity and the sizes of a finished stage's files are looked at.
    """
    is_finished = (folder / MARKER).exists()
    if not (folder / IDENTITY).is_file():
        if is_finished:
            yield f"{IDENTITY} is gone"
        return
    identity = _parsed((folder / IDENTITY).read_bytes())
    if identity is None:
        yield f"{IDENTITY} cannot be read"
    elif canonical(identity) != canonical(key.identity):
        yield "it belongs to another stage: its identity.json is not what its name stands for"
    if is_finished:
        yield from _changes(folder, contents)
    elif contents:
        yield from _unreadable_records(folder)


def _changes(folder: Path, contents: bool) -> Iterator[str]:
    """Yield what is not as it was when the stage was finished; compare digests, not only sizes, with `contents`."""
    mark = _parsed((folder / MARKER).read_bytes()) or {}
    if not isinstance(files := mark.get("files"), dict):
        yield f"{MARKER} cannot be read"
        return
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is gone"
        elif path.stat().st_size != expected["bytes"]:
            yield f"{name} has {path.stat().st_size} bytes where it had {expected['bytes']}"
        elif contents and sha256_of(path) != expected["sha256"]:
            yield f"{name} is not what it was when the stage was finished"


def _unreadable_records(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.json")):
        if _parsed(path.read_bytes(), dict | list) is None:
            yield f"{path.name} cannot be read"
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(complete_lines(path.read_bytes()).splitlines(), start=1):
            if _parsed(line) is None:
                yield f"line {number} of {path.name} cannot be read"


def _parsed(text: bytes, kind: Any = dict) -> Any:
    """Return what JSON says; None where it is no JSON, or another kind of value."""
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
