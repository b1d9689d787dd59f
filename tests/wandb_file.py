"""What a run told W&B, read back from the file that it writes offline."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.command import Run
from wandb.proto.wandb_internal_pb2 import Record


class Told:
    """What a job told W&B, read from the file that `wandb sync` would upload, which a process of W&B's own writes."""

    def __init__(self, job: Run, patience: float = 30.0) -> None:
        (file,) = (job.folder / "wandb").glob("offline-run-*/run-*.wandb")
        given_up = time.monotonic() + patience
        self._read(file)
        while self.exit_code is None and time.monotonic() < given_up:
            time.sleep(0.2)
            self._read(file)

    def _read(self, file: Path) -> None:
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.exit_code: int | None = None
        for record in records(file.read_bytes()):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "config":
                self.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
            elif kind == "history":
                self.history.append(values(record.history.item))
            elif kind == "summary":
                self.summary |= values(record.summary.update)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def records(content: bytes) -> Iterator[Record]:
    """Yield the records of a `.wandb` file: LevelDB's log format, blocks of 32 KiB, after a header of 7 bytes."""
    assert content.startswith(b":W&B")
    whole, first, last = 1, 2, 4
    position, message = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        part = content[position + 7 : position + 7 + length]
        if len(part) < length:
            return  # still being written
        position += 7 + length
        message = part if kind in (whole, first) else message + part
        if kind in (whole, last):
            record = Record()
            record.ParseFromString(message)
            yield record
