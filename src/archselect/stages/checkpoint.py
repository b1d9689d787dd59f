"""What a stage can go on from: files of tensors that are written as a whole, and read only if they are sound."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from archselect import ranks
from archselect.store import CHECKPOINTS, DamagedError, replacing

NEWEST, PREVIOUS = CHECKPOINTS
LAYOUT = 1
"""Raised when what a checkpoint holds changes; a stage with an older one starts afresh."""

_LAYOUT = "archselect_layout"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint as a whole or not at all, and keeps the one before it: a kill damages neither."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Save beside the old checkpoint, which becomes the previous one, then take its place.

        All processes of a run hold the same; the first one writes.
        """
        if not ranks.first():
            return
        path = Path(path)
        content = _bytes({**checkpoint, _LAYOUT: LAYOUT})
        with replacing(path, previous=path.with_name(PREVIOUS)) as file:
            file.write(content)


def newest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint in a stage's folder that can be gone on from, and what is wrong with newer ones."""
    wrong = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        if path.exists():
            try:
                layout = load_state(path).get(_LAYOUT)
            except DamagedError as error:
                wrong.append(str(error))
                continue
            if layout == LAYOUT:
                return path, wrong
            wrong.append(f"{path.name} is of another version of this program (layout {layout}, not {LAYOUT})")
    return None, wrong


def save(tensors: Mapping[str, Any], path: Path) -> None:
    """Write what `load_state` reads, as a whole or not at all; several processes go on when the first has done so."""
    if ranks.first():
        content = _bytes(tensors)
        with replacing(path) as file:
            file.write(content)
    ranks.barrier()


def _bytes(tensors: Mapping[str, Any]) -> memoryview:
    buffer = io.BytesIO()  # torch turns a full disk into an error of its own
    torch.save(tensors, buffer)
    return buffer.getbuffer()


def load_state(file: Path) -> dict[str, Any]:
    """Return what `save` wrote, on the CPU.

    Raises:
        DamagedError: The file is gone, cut, or not what was written; PyTorch alone does not notice a changed byte.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            changed = archive.testzip()  # compares the CRC-32 of every record
        if changed is None:
            return cast(dict[str, Any], torch.load(file, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise DamagedError(f"{file.name} is gone") from error
    except PermissionError:
        raise
    except Exception as error:  # zipfile and torch raise a dozen kinds
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise DamagedError(f"{file.name} cannot be read ({why})") from error
    raise DamagedError(f"{file.name} cannot be read ({changed} is not what was written)")


def load_finished(file: Path) -> dict[str, Any]:
    """Return what a finished stage kept, see `load_state`; where it is damaged, a `ValueError` says what to do."""
    try:
        return load_state(file)
    except DamagedError as error:
        raise ValueError(
            f"In the finished stage {file.parent}, {error}. Type the run's command again: it sets the damaged stage "
            "aside and makes it afresh."
        ) from error
