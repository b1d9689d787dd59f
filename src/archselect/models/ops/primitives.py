"""The candidate operations of the package: `PRIMITIVES` is the table of their names, which genotypes store.

A search space may have others beside them (`Operation`); its own table, `SearchSpace.primitives`, holds both kinds.
To add one to the package: a `Primitive` here, and what it is on all edges out of a state at once in `STACKED` of
`models/supernet/mixed_ops.py`, whose `PARTS` says which modules the compiled loops may stand for (its `for_kernels` may
always return `kernels.Values`).
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.models.ops.convolution import DilConv, ReLUConvBN, SepConv, subsampled


@dataclass(frozen=True)
class Primitive:
    """A candidate operation, which maps `(B, C, H, W)` to `(B, C, ceil(H / stride), ceil(W / stride))`.

    Attributes:
        build: Makes it, of channels, stride and whether normalisations are affine.
        identity_at_stride_1: Drop path leaves identities alone.
        zero: Networks leave such edges out.
        learns: Whether it has weights at every stride, so that analyses count it as a convolution is counted.
        draws: Whether it draws random numbers in training.
        definition: What an operation of a user's own is made of, as plain data; None for the package's.
    """

    build: Callable[[int, int, bool], nn.Module]
    identity_at_stride_1: bool = False
    zero: bool = False
    learns: bool = False
    draws: bool = False
    definition: Mapping[str, Any] | None = None


PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {
        "none": Primitive(lambda channels, stride, affine: Zero(stride), zero=True),
        "skip_connect": Primitive(
            lambda channels, stride, affine: (
                nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
            ),
            identity_at_stride_1=True,
        ),
        "max_pool_3x3": Primitive(lambda channels, stride, affine: nn.MaxPool2d(3, stride, padding=1)),
        # The average leaves out what lies outside of the image.
        "avg_pool_3x3": Primitive(
            lambda channels, stride, affine: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        ),
        "sep_conv_3x3": Primitive(lambda channels, stride, affine: SepConv(channels, 3, stride, affine), learns=True),
        "sep_conv_5x5": Primitive(lambda channels, stride, affine: SepConv(channels, 5, stride, affine), learns=True),
        "sep_conv_7x7": Primitive(lambda channels, stride, affine: SepConv(channels, 7, stride, affine), learns=True),
        "dil_conv_3x3": Primitive(lambda channels, stride, affine: DilConv(channels, 3, stride, affine), learns=True),
        "dil_conv_5x5": Primitive(lambda channels, stride, affine: DilConv(channels, 5, stride, affine), learns=True),
        "noise": Primitive(lambda channels, stride, affine: Noise(stride), draws=True),
        "nor_conv_1x1": Primitive(
            lambda channels, stride, affine: ReLUConvBN(channels, channels, 1, stride, 0, affine),
            learns=True,
        ),
        "nor_conv_3x3": Primitive(
            lambda channels, stride, affine: ReLUConvBN(channels, channels, 3, stride, 1, affine),
            learns=True,
        ),
    }
)


Primitives = Mapping[str, Primitive]
"""The operations that a search space knows, by name."""


def primitive(name: str, primitives: Primitives = PRIMITIVES) -> Primitive:
    """Return the primitive of that name, or raise a `ValueError` that lists the names there are."""
    if name not in primitives:
        close = difflib.get_close_matches(str(name), primitives, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Operation {name!r} does not exist.{hint} The primitives are {', '.join(primitives)}. One of your own is "
            "known where search_space.operations defines it, as {name: ..., _target_: my_module.MyClass}: take that "
            "search space."
        )
    return primitives[name]


def build_operation(
    name: str, channels: int, stride: int, affine: bool = True, primitives: Primitives = PRIMITIVES
) -> nn.Module:
    """Build one of `primitives` for so many channels and a stride of 1 or 2."""
    return primitive(name, primitives).build(channels, stride, affine)


class FactorizedReduce(nn.Module):
    """Halves the resolution: ReLU, two 1x1 convolutions of stride 2, concatenation, batch normalisation.

    The second convolution reads the pixels one row and one column further. An image of odd size is continued by zeros
    there, so that both convolutions give `ceil(size / 2)`; the official code takes even sizes only.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        half = half_of(out_channels)
        self.first = nn.Conv2d(in_channels, half, 1, bias=False)
        self.second = nn.Conv2d(in_channels, half, 1, bias=False)
        self.norm = BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        height, width = x.shape[-2:]
        shifted = F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
        halves = [self.first(subsampled(x, 2)), self.second(subsampled(shifted[:, :, 1:, 1:], 2))]
        return self.norm(torch.cat(halves, dim=1))


def preprocessing(in_channels: int, out_channels: int, halves: bool = False, affine: bool = True) -> nn.Module:
    """Return what brings an input of a cell to the cell's channels and, where it is twice as large, resolution."""
    if halves:
        return FactorizedReduce(in_channels, out_channels, affine)
    return ReLUConvBN(in_channels, out_channels, 1, 1, 0, affine)


def half_of(channels: int) -> int:
    """Return how many channels each of the two convolutions of a factorized reduction gives."""
    if channels % 2:
        raise ValueError(f"A factorized reduction joins two halves, so its channels must be even; got {channels}.")
    return channels // 2


class ResidualReduction(nn.Module):
    """Two ReLU-Conv3x3-BN, the first of stride 2, beside a shortcut of average pooling over 2x2 and Conv1x1.

    Maps `(B, in, H, W)` to `(B, out, ceil(H / 2), ceil(W / 2))`; at an odd size the shortcut's last windows shrink.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            ReLUConvBN(in_channels, out_channels, 3, 2, 1), ReLUConvBN(out_channels, out_channels, 3, 1, 1)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + self.shortcut(x)


def three_stages(channels: int, cells: int, build: Callable[[int], nn.Module]) -> nn.ModuleList:
    """Return the stages of NAS-Bench-201: cells of C, 2C and 4C channels, a residual block of stride 2 between them."""
    blocks = nn.ModuleList()
    for width in (channels, 2 * channels, 4 * channels):
        if width > channels:
            blocks.append(ResidualReduction(width // 2, width))
        blocks.extend(build(width) for _ in range(cells))
    return blocks


class Zero(nn.Module):
    """Zeros of the input's shape, at the stride; the input is not read."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """Standard normal noise of the input's shape, at the stride, drawn anew at each call from PyTorch's own generator.

    S4 offers it so that a sound selection has something to refuse (Zela et al., arXiv 1909.09656).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


def drop_path(x: Tensor, probability: float, paths: int = 1) -> Tensor:
    """Set each sample of each path to zero with `probability` and scale the others so that the mean stays.

    Larsson et al., FractalNet (arXiv 1605.07648), as DARTS uses it. The mask comes from PyTorch's own generator.

    Args:
        x: `(B, paths * C, H, W)`, the paths one after another.
        probability: In `[0, 1)`.
        paths: Each is left out of images of its own.
    """
    keep = 1 - probability
    mask = x.new_empty(x.shape[0], paths).bernoulli_(keep).div_(keep)
    return x * mask.repeat_interleave(x.shape[1] // paths, dim=1)[:, :, None, None]
