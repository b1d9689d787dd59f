"""The formats of exported networks: how each is written, and read back as a function of images.

torch_export    `network.pt2`, an `ExportedProgram` of `torch.export`: PyTorch runs it without this package
onnx            `network.onnx`, by PyTorch's exporter on `torch.export`: onnxruntime and other programs run it
safetensors     `network.safetensors`, the weights and a description, from which `load_network` builds the network
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archselect.deployment.network import TrainedNetwork
from archselect.deployment.weights_file import read_weights, write_weights
from archselect.utils.errors import extra

Compute = Callable[[Tensor], Tensor]
"""Images `(B, C, H, W)` to outputs `(B, outputs)`."""

OPERATOR = re.compile(r"op='([\w.]+)'")
"""In an error of PyTorch's exporter."""

MULTIPLES = (4, 8, 16, 32)
"""What heights and widths must be multiples of, so that all that halves an image meets even sizes: two reductions, and
what a stem halves before them. The first that a network exports with is taken.
"""


class Deployed(nn.Module):
    """What a file computes: the outputs for pixels between 0 and 1, or for images that are normalised already.

    Args:
        network: In evaluation mode.
        normalizes: Whether the normalisation is inside.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: TrainedNetwork, normalizes: bool) -> None:
        super().__init__()
        self.network = network.network
        self.normalizes = normalizes
        for name in ("mean", "std"):
            values = torch.tensor(getattr(network.normalization, name)).view(-1, 1, 1)
            self.register_buffer(name, values)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std if self.normalizes else images)


@dataclass(frozen=True)
class Image:
    """The images that an exported network takes.

    Attributes:
        channels: Of all.
        size: Height and width of those that the network was trained on.
        multiple: Heights and widths may be other multiples of this, from twice it on; None: they may not.
    """

    channels: int
    size: int
    multiple: int | None

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Some heights and widths that are taken."""
        others = [] if self.multiple is None else [(self.multiple * 2, self.multiple * 3)]
        return [(self.size, self.size), *others]


def program_of(deployed: Deployed, channels: int, size: int, free: bool) -> tuple[torch.export.ExportedProgram, Image]:
    """Return a network as `torch.export` records it, for any number of images, and what images it takes.

    Args:
        deployed: The network.
        channels: Of the images that it was trained on.
        size: Their height and width.
        free: Whether heights and widths are left open, as far as the network allows it.

    Raises:
        ValueError: The network cannot be recorded.
    """
    for multiple in MULTIPLES if free else ():
        other = torch.zeros(1, channels, 2 * multiple, 3 * multiple)
        try:
            deployed(other)
            program = _recorded(deployed, channels, max(size, 2 * multiple), multiple)
            program.module()(other)
        except Exception:  # PyTorch raises a dozen kinds where a size is not free
            continue
        return program, Image(channels, size, multiple)
    try:
        return _recorded(deployed, channels, size, None), Image(channels, size, None)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"torch.export cannot record this network ({type(error).__name__}: {reason}). An operation of one's own "
            "must not branch on the values of tensors. format=safetensors keeps the weights of any network."
        ) from error


def _recorded(deployed: Deployed, channels: int, size: int, multiple: int | None) -> torch.export.ExportedProgram:
    dimension = torch.export.Dim
    shape: dict[int, Any] = {0: dimension("batch", min=1)}
    if multiple is not None:
        shape |= {axis: multiple * dimension(name, min=2) for axis, name in ((2, "rows"), (3, "columns"))}
    images = torch.zeros(2, channels, size, size)
    return torch.export.export(deployed, (images,), dynamic_shapes=(shape,), strict=False)


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        suffix: Of the file.
        write: Writes a network to a path and says what images the file takes; whether sizes should be free.
        read: Returns what a file computes, on the CPU; `trusted` as of `load_network`.
    """

    suffix: str
    write: Callable[[TrainedNetwork, Deployed, bool, Path], Image]
    read: Callable[[Path, Deployed, tuple[str, ...]], Compute]


def _write_torch(network: TrainedNetwork, deployed: Deployed, free: bool, path: Path) -> Image:
    program, images = program_of(deployed, network.channels, network.image_size, free)
    torch.export.save(program, path)
    return images


def _read_torch(path: Path, deployed: Deployed, trusted: tuple[str, ...]) -> Compute:
    return torch.export.load(path).module()


def _write_onnx(network: TrainedNetwork, deployed: Deployed, free: bool, path: Path) -> Image:
    with extra("export", "format=onnx"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    program, images = program_of(deployed, network.channels, network.image_size, free)
    with _quiet(), _as_value_error("ONNX cannot express this network"):
        made = torch.onnx.export(
            program, (), dynamo=True, input_names=["images"], output_names=["outputs"], verbose=False
        )
        assert made is not None
        made.save(path, external_data=False)
    return images


def _read_onnx(path: Path, deployed: Deployed, trusted: tuple[str, ...]) -> Compute:
    import onnxruntime

    failed = "onnxruntime cannot compute the file of this network"
    with _as_value_error(failed):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def compute(images: Tensor) -> Tensor:
        with _as_value_error(failed):
            return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return compute


@contextmanager
def _as_value_error(failed: str) -> Iterator[None]:
    """Say in a sentence what PyTorch's exporter or onnxruntime raises, and the operator that it is about."""
    try:
        yield
    except Exception as error:  # of both a dozen kinds, of no common class
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        named = OPERATOR.search(str(first)) or OPERATOR.search(str(error))
        said = " ".join(str(first).split())[:300]
        reason = f"the operator {named[1]}" if named else f"{type(first).__name__}: {said}"
        raise ValueError(f"{failed} ({reason}). Use format=torch_export or format=safetensors.") from error


def _write_safetensors(network: TrainedNetwork, deployed: Deployed, free: bool, path: Path) -> Image:
    write_weights(network, path)
    return Image(network.channels, network.image_size, None)


def _read_safetensors(path: Path, deployed: Deployed, trusted: tuple[str, ...]) -> Compute:
    network = read_weights(path, trusted)
    return lambda images: network(network.normalize(images) if deployed.normalizes else images)


FORMATS: Mapping[str, Format] = {
    "torch_export": Format(".pt2", _write_torch, _read_torch),
    "onnx": Format(".onnx", _write_onnx, _read_onnx),
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what PyTorch's exporter says of packages that are not there and of its own use of others."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
