"""The stages of all runs on disk, a folder each.

A stage is worked on under its lock, so a folder has one writer. What a killed writer leaves behind is always readable:
files are replaced as a whole, lines are added at the end, and a half-written last line does not count.
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from filelock import FileLock, Timeout

from archselect.safe_io.files import JSON_BYTES, parse_json, read_bytes, read_json
from archselect.store.atomic_io import StoreError, complete_lines, disk_errors_explained, write_text
from archselect.store.integrity import CHECKPOINTS, IDENTITY, MARKER, SCRATCH, integrity_errors, manifest
from archselect.store.key import Kind, StageKey

State = Literal["absent", "unfinished", "finished", "damaged"]


@dataclass(frozen=True)
class StageFolder:
    """One stage on disk. All that writes is done under `lock`, between `begin` and `finish`."""

    path: Path
    key: StageKey

    @classmethod
    def found(cls, path: Path) -> "StageFolder":
        """Return the stage at `path`, of which nothing is known but what it says of itself.

        Raises:
            FileNotFoundError: There is no stage.
            ValueError: The folder is not what its name stands for.
        """
        path = path.resolve()
        if not (path / IDENTITY).is_file():
            raise FileNotFoundError(f"There is no stage in {path}: it has no {IDENTITY}.")
        identity = read_json(path / IDENTITY, path)
        if not isinstance(identity, dict):
            raise ValueError(f"{path / IDENTITY} does not say what the stage was made from. Compute it again.")
        key = StageKey(cast(Kind, path.parent.name), path.name.rpartition("-")[0], identity)
        if key.folder_name != path.name:
            raise ValueError(
                f"The folder {path} is not the stage that its identity.json describes, {key.folder_name}: it was "
                "renamed, edited or copied over another. Compute it again."
            )
        return cls(path, key)

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self.path.parents[2]

    @property
    def state(self) -> State:
        """Whether the stage was never begun, is to be gone on with, is done, or is not what it was."""
        if not self.path.exists():
            return "absent"
        if self.integrity_error():
            return "damaged"
        return "finished" if (self.path / MARKER).exists() else "unfinished"

    def integrity_error(self, contents: bool = False) -> str | None:
        """Return what is wrong with the folder, in a few words; None: nothing. With `contents`, every file is read."""
        return next(integrity_errors(self.path, self.key, contents), None)

    @property
    def finished(self) -> bool:
        return self.state == "finished"

    def quarantine(self) -> Path:
        """Give the folder another name, so that the stage starts afresh and nothing is lost; return its new place."""
        names = (self.path.with_name(f"{self.path.name}.damaged-{number}") for number in itertools.count(1))
        aside = next(path for path in names if not path.exists())
        with disk_errors_explained(self.path):
            return self.path.rename(aside)

    @contextmanager
    def lock(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep every other process from working on this stage; wait while another one does. Look at `state` afterwards.

        The operating system holds the lock (`flock`) and drops it with the process, however that ends. The file system
        has to offer `flock` across all machines that share it: local disks and NFS do, Lustre when mounted with `flock`
        (`localflock` guards one machine only). Where it is missing, this raises rather than trusting a lock file that a
        killed process would leave behind. `on_wait` is called once if another process holds the lock.

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
        """Start the stage or go on with it: a session is added to the list in `provenance.json`.

        Raises:
            ValueError: The stage is finished, or the folder is damaged.
            StoreError: The folder cannot be written.
        """
        if (wrong := self.integrity_error()) is not None:
            raise ValueError(f"The stage {self.path} is damaged: {wrong}. Move the folder away.")
        sessions = self._sessions()
        with disk_errors_explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.write_json(IDENTITY, self.key.identity)
        self.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        self.write_json("provenance.json", [*sessions, {"started": _now(), **provenance}])

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, then the marker `finished.json` with all files and digests: nothing changes any more."""
        sessions = self.read_json("provenance.json")
        sessions[-1]["seconds"] = _seconds_since(sessions[-1], datetime.now(UTC).timestamp())
        self.write_json("provenance.json", sessions)
        self.write_json("result.json", dict(result))
        self.write_json(MARKER, {"finished": _now(), "digest": self.key.digest, "files": manifest(self.path)})
        self.cleanup()  # not before: a kill in between would cost the whole stage

    def cleanup(self) -> None:
        """Remove from a finished stage what only an unfinished one needs; a killed `finish` leaves it."""
        if (self.path / MARKER).exists():
            for checkpoint in CHECKPOINTS:
                (self.path / checkpoint).unlink(missing_ok=True)
            shutil.rmtree(self.path / SCRATCH, ignore_errors=True)

    def result(self) -> dict[str, Any]:
        """Return what `finish` was given; a FileNotFoundError says why the stage is not finished."""
        if (state := self.state) != "finished":
            why = f"damaged ({self.integrity_error()})" if state == "damaged" else state
            raise FileNotFoundError(f"The stage {self.path} has no result, because it is {why}. Run it to its end.")
        return cast(dict[str, Any], self.read_json("result.json"))

    @property
    def seconds(self) -> float:
        """Wall time of all sessions together; one that was cut off counts up to the last file it wrote."""
        return sum(session.get("seconds", 0.0) for session in self.read_json("provenance.json"))

    def write_text(self, name: str, text: str) -> None:
        """Write the file `name` as a whole or not at all."""
        write_text(self._to_write(name), text)

    def write_json(self, name: str, value: Any) -> None:
        """Write the file `name` as a whole or not at all. Numbers that are not finite become NaN and Infinity."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Return what `write_json` was given; a FileNotFoundError says what to do where there is no such file."""
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(
                f"The stage {self.path} has no {name}. If it was deleted, delete the folder and run again."
            )
        return read_json(path, self.path)

    def append_line(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a record to the `.jsonl` file `name`; it is on disk when this returns. A half-written last line goes."""
        path = self._to_write(name)
        with disk_errors_explained(path), path.open("ab+") as file:
            file.seek(0)
            file.truncate(len(complete_lines(file.read())))
            file.write(_line(record).encode())
            file.flush()
            os.fsync(file.fileno())

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the records of the `.jsonl` file `name`, without a half-written last one; none before the first.

        Raises:
            ValueError: A line is damaged.
        """
        path = self.path / name
        content = read_bytes(path, self.path, JSON_BYTES) if path.exists() else b""
        records = []
        for number, line in enumerate(complete_lines(content).splitlines(), start=1):
            try:
                records.append(parse_json(line))
            except ValueError as error:
                raise ValueError(
                    f"Line {number} of {path} is damaged ({error}). Delete {self.path} to compute the stage anew."
                ) from error
        return records

    def keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the records of the `.jsonl` file `name` that `keep` turns down, such as those after a checkpoint."""
        self.write_text(name, "".join(_line(record) for record in self.read_lines(name) if keep(record)))

    def _to_write(self, name: str) -> Path:
        if (self.path / MARKER).exists():
            raise ValueError(
                f"The stage {self.path} is finished, so {name} stays as it is. Delete the folder to compute it anew."
            )
        return self.path / name

    def _sessions(self) -> list[dict[str, Any]]:
        """Return the sessions so far, the last of them ended with the last file written."""
        if not (self.path / "provenance.json").exists():
            return []
        sessions = cast(list[dict[str, Any]], self.read_json("provenance.json"))
        last_write = max(file.stat().st_mtime for file in self.path.rglob("*") if file.is_file())
        sessions[-1].setdefault("seconds", _seconds_since(sessions[-1], last_write))
        return sessions


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(dict(record), ensure_ascii=False) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _seconds_since(session: Mapping[str, Any], moment: float) -> float:
    return round(max(0.0, moment - datetime.fromisoformat(session["started"]).timestamp()), 3)


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

    def folder(self, key: StageKey) -> StageFolder:
        """Return the folder of the stage `key`; nothing is made on disk yet."""
        return StageFolder(self.root / "stages" / key.kind / key.folder_name, key)
