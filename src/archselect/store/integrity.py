"""What is wrong with a stage's folder, if anything: damaged files are noticed before they are used."""

import hashlib
from collections.abc import Iterator, Mapping
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

Manifest = Mapping[str, Mapping[str, Any]]


class DamagedError(ValueError):
    """What an unfinished stage needs to go on cannot be read."""


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size in bytes and SHA-256 of every file that a finished stage keeps, by its path in the folder."""
    kept = sorted(path for path in folder.rglob("*") if path.is_file() and _is_kept(path.relative_to(folder)))
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in kept
    }


def _is_kept(path: Path) -> bool:
    return path.parts[0] not in (MARKER, SCRATCH, *CHECKPOINTS) and not path.name.startswith(".")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def integrity_error(folder: Path, key: StageKey, contents: bool = False) -> str | None:
    """Return what is wrong with the folder of a stage, in a few words; None: nothing.

    Args:
        folder: Of the stage; it need not exist.
        key: What determines the stage's result.
        contents: Read every file, too. Else only the identity and the sizes of a finished stage's files are looked at.
    """
    return next(_integrity_errors(folder, key, contents), None)


def _integrity_errors(folder: Path, key: StageKey, contents: bool) -> Iterator[str]:
    marker = folder / MARKER
    if not (folder / IDENTITY).is_file():
        if marker.exists():
            yield f"{IDENTITY} is gone"
        return
    identity = _json(folder / IDENTITY)
    if not isinstance(identity, dict):
        yield f"{IDENTITY} cannot be read"
    elif canonical(identity) != canonical(key.identity):
        yield "it belongs to another stage: its identity.json is not what its name stands for"
    if not marker.exists():
        yield from _unfinished(folder) if contents else ()
        return
    mark = _json(marker)
    if not isinstance(mark, dict):
        yield f"{MARKER} cannot be read"
    else:  # a stage finished before there were digests has none
        yield from differences(folder, mark.get("files", {}), contents)


def _unfinished(folder: Path) -> Iterator[str]:
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jsonl")]):
        if path.suffix == ".json" and _json(path) is None:
            yield f"{path.name} cannot be read"
        elif path.suffix == ".jsonl":
            for number, line in enumerate(complete_lines(path.read_bytes()).splitlines(), start=1):
                if not isinstance(_parsed(line), dict):
                    yield f"line {number} of {path.name} cannot be read"


def differences(folder: Path, files: Manifest, contents: bool) -> Iterator[str]:
    """Yield what is not as it was when a stage was finished.

    Args:
        folder: Of the stage.
        files: See `manifest`.
        contents: Compare the digests of what the files hold, not only their sizes.
    """
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is gone"
        elif path.stat().st_size != expected["bytes"]:
            yield f"{name} has {path.stat().st_size} bytes where it had {expected['bytes']}"
        elif contents and sha256(path) != expected["sha256"]:
            yield f"{name} is not what it was when the stage was finished"


def _json(path: Path) -> Any:
    return _parsed(path.read_bytes())


def _parsed(text: bytes) -> Any:
    """Return what JSON says; None where it says nothing."""
    try:
        return parse_json(text)
    except ValueError:
        return None
