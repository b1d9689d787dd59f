"""What a stage can go on from: files of tensors that are written as a whole, and read only if they are sound."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from archselect.distributed.process_group import on_main_process
from archselect.safe_io import tensors
from archselect.store import CHECKPOINTS, DamagedError, atomic_write

NEWEST, PREVIOUS = CHECKPOINTS
LAYOUT = 1
"""Raised when what a checkpoint holds changes; a stage with an older one starts afresh."""

_LAYOUT = "archselect_layout"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint as a whole or not at all, and keeps the one before it: a kill damages neither."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        _write({**checkpoint, _LAYOUT: LAYOUT}, Path(path), previous=Path(path).with_name(PREVIOUS))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Load tensors and plain data, whatever Lightning asks for."""
        return tensors.load(Path(path), map_location)


def newest_valid(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint in a stage's folder that can be gone on from, and what is wrong with newer ones."""
    wrong: list[str] = []
    for path in filter(Path.exists, (folder / NEWEST, folder / PREVIOUS)):
        try:
            if (layout := load_state(path).get(_LAYOUT)) == LAYOUT:
                return path, wrong
            wrong.append(f"{path.name} is of another version of this program (layout {layout}, not {LAYOUT})")
        except DamagedError as error:
            wrong.append(str(error))
    return None, wrong


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write what `load_state` reads, as a whole or not at all; of several processes the main one does."""
    on_main_process(lambda: _write(state, path))


def _write(state: Mapping[str, Any], path: Path, previous: Path | None = None) -> None:
    buffer = io.BytesIO()  # torch turns a full disk into an error of its own
    torch.save(state, buffer)
    with atomic_write(path, previous=previous) as file:
        file.write(buffer.getbuffer())


def load_state(file: Path) -> dict[str, Any]:
    """Return what `save` wrote, on the CPU; a `DamagedError` says that the file is gone, cut, or another one."""
    try:
        state = tensors.load(file)
    except FileNotFoundError as error:
        raise DamagedError(f"{file.name} is gone") from error
    except ValueError as error:
        reason = str(error).split(". If a run of yours")[0].removeprefix(f"{file} ").rstrip(".")
        raise DamagedError(f"{file.name} {reason}") from error
    if not isinstance(state, dict):
        raise DamagedError(f"{file.name} holds a {type(state).__name__} where it should hold a state")
    return state
