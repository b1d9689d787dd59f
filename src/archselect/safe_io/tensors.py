"""What PyTorch saved, where it may come from somebody else: tensors and plain data, no objects."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def load(file: Path, map_location: Any = "cpu") -> Any:
    """Return what `torch.save` wrote to a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds objects, whose loading could run code; it is compressed, which PyTorch does not do and
            which can make a small file large; it is damaged, which PyTorch does not always notice.
    """
    if file.is_symlink():
        raise ValueError(f"{file} is a link; a stage keeps its tensors itself. Put the file itself there.")
    with file.open("rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                packed = [entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
                if not packed and (changed := archive.testzip()) is not None:  # compares the CRC-32 of every record
                    raise zipfile.BadZipFile(f"{changed} is not what was written")
            if not packed:
                stream.seek(0)
                return torch.load(stream, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{file} holds more than tensors and plain data, and is not loaded, because that could run code: "
                f"{_reason(error)}"
            ) from error
        except Exception as error:  # zipfile and torch raise a dozen kinds
            raise ValueError(
                f"{file} is damaged, or no file of PyTorch ({_reason(error)}). If a run of yours left it, type the "
                "run's command again: it is made anew."
            ) from error
    raise ValueError(f"{file} is not what PyTorch saves: {packed[0].filename} in it is compressed. It is not loaded.")


def load_state(file: Path) -> Mapping[str, Any]:
    """Return the `state_dict` in a file, on the CPU; it is refused as by `load`."""
    state = load(file)
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{file} holds no state of a network, but a {type(state).__name__}.")
    return state  # as it is: PyTorch keeps the versions of the layers in an attribute of it


def load_into(network: nn.Module, file: Path) -> None:
    """Put the state in a file into a network; it is refused as by `load`, and where it is of another network."""
    state = load_state(file)
    check_fits(network, state, file)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} holds the state of another network: {_reason(error)}") from error


def check_fits(network: nn.Module, state: Mapping[str, Any], file: Path) -> None:
    """Raise a ValueError unless a state has the tensors of a network, which may be on the device "meta"."""
    there = {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor) and (found := there.get(name)) != (shape := tuple(value.shape)):
            raise ValueError(
                f"{file} holds the state of another network than the config describes: {name} should have the shape "
                f"{shape}, and has {found}."
            )


def _reason(error: BaseException) -> str:
    """Return what matters of a long message of PyTorch's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "WeightsUnpickler error" in line or "GLOBAL" in line]
    return (" ".join(named[:1] or lines[:2]) or type(error).__name__)[:300]
