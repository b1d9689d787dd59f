"""Stages and the store: what is computed once, kept in a folder named by what determines it, and never rewritten.

    StageKey        what determines a stage's result, and the name that follows from it
    Store           where the stages lie: root/stages/<kind>/<label>-<digest>
    StageFolder     one stage on disk: absent, unfinished or finished
    replacing       a file that is written as a whole or not at all
    StoreError      the disk said no: which path, what to do

A stage is worked on under its lock, so a folder has one writer. What a killed writer leaves behind is always readable:
files are replaced as a whole, lines are added at the end, and a half-written last line does not count.
"""

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import yaml
from filelock import FileLock, Timeout

Kind = Literal["search", "selection", "evaluation"]
State = Literal["absent", "unfinished", "finished"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class StoreError(OSError):
    """The disk refused what the store needs; the message names the path and what to do. Nothing finished is lost."""


@dataclass(frozen=True)
class StageKey:
    """What determines a stage's result.

    Attributes:
        kind: Which of the three stages.
        label: The readable part of the folder's name: letters, digits, `-`, `_` and `.`.
        identity: Everything the result depends on (the stage's part of the config, the seed, the digests of the stages
            it starts from, the stage's version) as plain JSON data. 1 and 1.0 are different values.
    """

    kind: Kind
    label: str
    identity: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        """Check all parts, and copy the identity: the caller may go on changing his own."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"A stage is one of {', '.join(get_args(Kind))}, not {self.kind!r}.")
        if not _LABEL.fullmatch(self.label):
            raise ValueError(
                f"A stage's label names a folder: up to 200 letters, digits, '-', '_' and '.', the first a letter or a "
                f"digit; got {self.label!r}."
            )
        _check_plain(self.identity, "identity")
        object.__setattr__(self, "identity", json.loads(_canonical(self.identity)))

    @property
    def digest(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the identity's canonical JSON."""
        return hashlib.sha256(_canonical(self.identity).encode()).hexdigest()[:12]

    @property
    def folder_name(self) -> str:
        """The label, for people, and the digest, for certainty."""
        return f"{self.label}-{self.digest}"


class Store:
    """The stages of all runs below one folder.

    Raises:
        StoreError: `root` is a file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(
                f"The results go to a folder, but {self.root} is a file: move it away or name another folder."
            )

    def folder(self, key: StageKey) -> "StageFolder":
        """Return the folder of the stage `key`; nothing is made on disk yet."""
        return StageFolder(self.root / "stages" / key.kind / key.folder_name, key)


@dataclass(frozen=True)
class StageFolder:
    """One stage on disk. All that writes is done under `lock`, between `begin` and `finish`."""

    path: Path
    key: StageKey

    @property
    def state(self) -> State:
        """Whether the stage was never begun, is to be gone on with, or is done.

        Raises:
            ValueError: The folder belongs to another stage.
        """
        self._check_identity()
        if (self.path / "finished.json").exists():
            return "finished"
        return "unfinished" if self.path.exists() else "absent"

    @contextmanager
    def lock(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep every other process from working on this stage; wait while another one does. Look at `state` afterwards.

        The operating system holds the lock (`flock`) and drops it with the process, however that ends. The file system
        has to offer `flock` across all machines that share it: local disks and NFS do, Lustre when mounted with `flock`
        (`localflock` guards one machine only). Where it is missing, this raises rather than trusting a lock file that a
        killed process would leave behind.

        Args:
            on_wait: Called once if another process holds the lock.

        Raises:
            StoreError: The lock file cannot be made, or the file system offers no locks.
        """
        path = self.path.with_name(f"{self.path.name}.lock")
        lock = FileLock(path, poll_interval=0.2, fallback_to_soft=False)
        with disk_errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                on_wait()
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def begin(self, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Start the stage or go on with it.

        Writes `identity.json` and `config.yaml`, and adds a session to the list in `provenance.json`.

        Raises:
            ValueError: The stage is finished, or the folder belongs to another stage.
            StoreError: The folder cannot be written.
        """
        self._check_identity()
        sessions = self._sessions_so_far()
        with disk_errors_explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.write_json("identity.json", self.key.identity)
        self.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        self.write_json("provenance.json", [*sessions, {"started": _now(), **provenance}])

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, then the marker `finished.json`. From then on nothing in the folder changes."""
        sessions = self.read_json("provenance.json")
        sessions[-1]["seconds"] = _seconds_since(sessions[-1], datetime.now(UTC).timestamp())
        self.write_json("provenance.json", sessions)
        self.write_json("result.json", dict(result))
        self.write_json("finished.json", {"finished": _now(), "digest": self.key.digest})

    def result(self) -> dict[str, Any]:
        """Return what `finish` was given.

        Raises:
            FileNotFoundError: The stage is not finished.
        """
        if (state := self.state) != "finished":
            raise FileNotFoundError(
                f"The stage {self.path} has no result, because it is {state}. Run it to its end first."
            )
        result: dict[str, Any] = self.read_json("result.json")
        return result

    @property
    def seconds(self) -> float:
        """Wall time of all sessions together; one that was cut off counts up to the last file it wrote."""
        return sum(session.get("seconds", 0.0) for session in self.read_json("provenance.json"))

    def write_text(self, name: str, text: str) -> None:
        """Write the file `name` as a whole or not at all."""
        with replacing(self._to_write(name)) as file:
            file.write(text.encode())

    def write_json(self, name: str, value: Any) -> None:
        """Write the file `name` as a whole or not at all. Numbers that are not finite become NaN and Infinity."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Return what `write_json` was given.

        Raises:
            FileNotFoundError: There is no such file.
        """
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(
                f"The stage {self.path} has no {name}. If it was deleted, delete the folder and run again."
            )
        return json.loads(path.read_text(encoding="utf-8"))

    def append_line(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a record to the `.jsonl` file `name`; it is on disk when this returns. A half-written last line goes."""
        line = json.dumps(dict(record), ensure_ascii=False) + "\n"
        path = self._to_write(name)
        with disk_errors_explained(path), path.open("ab+") as file:
            file.seek(0)
            file.truncate(len(_whole_lines(file.read())))
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the records of the `.jsonl` file `name`, without a half-written last one; none before the first.

        Raises:
            ValueError: A line is damaged.
        """
        path = self.path / name
        if not path.exists():
            return []
        records = []
        for number, line in enumerate(_whole_lines(path.read_bytes()).splitlines(), start=1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise ValueError(
                    f"Line {number} of {path} is damaged ({error}). Delete {self.path} to compute the stage anew."
                ) from error
        return records

    def keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the records of the `.jsonl` file `name` that `keep` turns down, such as those after a checkpoint."""
        kept = [record for record in self.read_lines(name) if keep(record)]
        self.write_text(name, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))

    def _to_write(self, name: str) -> Path:
        if (self.path / "finished.json").exists():
            raise ValueError(
                f"The stage {self.path} is finished, so {name} stays as it is. Delete the folder to compute it anew."
            )
        return self.path / name

    def _check_identity(self) -> None:
        if not (self.path / "identity.json").exists():
            return
        if _canonical(self.read_json("identity.json")) != _canonical(self.key.identity):
            raise ValueError(
                f"The folder {self.path} belongs to another stage: its identity.json is not what its name stands for. "
                f"Move the folder away; it was renamed, edited or copied."
            )

    def _sessions_so_far(self) -> list[dict[str, Any]]:
        """Return the sessions before this one, the last of them ended with the last file written."""
        if not (self.path / "provenance.json").exists():
            return []
        sessions: list[dict[str, Any]] = self.read_json("provenance.json")
        last_write = max(file.stat().st_mtime for file in self.path.rglob("*") if file.is_file())
        sessions[-1].setdefault("seconds", _seconds_since(sessions[-1], last_write))
        return sessions


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends well; until then `path` stays as it was.

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
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


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
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"Writing {path} is not permitted: change that or name another folder for the results."
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR:
            return f"{path} cannot be made: a file is where a folder is needed, or the other way round. Move it away."
        case errno.ENOSYS | errno.ENOLCK | errno.EOPNOTSUPP:
            return f"The file system of {path} offers no locks (flock): name a folder for the results on one that does."
        case _:
            return f"{path} cannot be written: {error.strerror or error}."


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlast a power cut, where that can be asked for (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _whole_lines(content: bytes) -> bytes:
    """Return `content` up to its last line end."""
    return content[: content.rfind(b"\n") + 1]


def _canonical(identity: Mapping[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check_plain(value: object, where: str) -> None:
    """Raise unless `value` is plain data with one JSON form, so that equal identities have equal digests."""
    if type(value) is dict:
        for name, part in value.items():
            if type(name) is not str:
                raise ValueError(f"The keys of {where} must be text; got {name!r}.")
            _check_plain(part, f"{where}.{name}")
    elif type(value) is list:
        for index, part in enumerate(value):
            _check_plain(part, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number; got {value}.")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise ValueError(
            f"{where} must be plain data (None, bool, int, float, str, list or dict); got {value!r} of type "
            f"{type(value).__name__}."
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _seconds_since(session: Mapping[str, Any], moment: float) -> float:
    return round(max(0.0, moment - datetime.fromisoformat(session["started"]).timestamp()), 3)
