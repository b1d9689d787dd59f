"""The candidate operations: the one table of names, which genotypes and spaces store, and the small operations."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.models.ops.convolution import DilConv, ReLUConvBN, SepConv, subsampled


class MaxPool(nn.Module):
    """The maximum over 3x3 windows."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=self.stride, padding=1)


class AvgPool(nn.Module):
    """The average over 3x3 windows; what lies outside of the image does not count."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=self.stride, padding=1, count_include_pad=False)


class FactorizedReduce(nn.Module):
    """Halves the resolution: ReLU, two 1x1 convolutions of stride 2, concatenation, batch normalisation.

    The second convolution reads the pixels one row and one column further. An image of odd size is continued by zeros
    there, so that both convolutions give `ceil(size / 2)`; the official code takes even sizes only.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        check_halves(out_channels)
        self.first = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.second = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.norm = BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.first(subsampled(x, 2)), self.second(subsampled(_shifted(x), 2))], dim=1))


def check_halves(channels: int) -> None:
    """Raise a ValueError unless the two convolutions of a factorized reduction can give half of the channels each."""
    if channels % 2:
        raise ValueError(
            "A factorized reduction gives an even number of channels, half by each of its convolutions; "
            f"got {channels}."
        )


def _shifted(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    return x[:, :, 1:, 1:]


def build_skip(channels: int, stride: int, affine: bool = True) -> nn.Module:
    """Return the identity, or at stride 2 a factorized reduction."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


class ResidualReduction(nn.Module):
    """Two ReLU-Conv3x3-BN, the first of stride 2, beside a shortcut of average pooling over 2x2 and Conv1x1.

    Maps `(B, in, H, W)` to `(B, out, ceil(H / 2), ceil(W / 2))`; at an odd size the shortcut's last windows shrink.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            ReLUConvBN(in_channels, out_channels, 3, 2, 1, affine),
            ReLUConvBN(out_channels, out_channels, 3, 1, 1, affine),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + self.shortcut(x)


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


@dataclass(frozen=True)
class Primitive:
    """A candidate operation, which maps `(B, C, H, W)` to `(B, C, ceil(H / stride), ceil(W / stride))`.

    Attributes:
        name: As genotypes write it.
        build: `build(channels, stride, affine)`; `affine` is that of its batch normalisation, where it has one.
        identity_at_stride_1: Whether it is the identity at stride 1; drop path leaves identities alone.
        zero: Whether it gives zeros; networks leave such edges out.
        pooling: Whether it is a pooling; in the supernet of the DARTS family a batch normalisation follows it.
    """

    name: str
    build: Callable[[int, int, bool], nn.Module]
    identity_at_stride_1: bool = False
    zero: bool = False
    pooling: bool = False


PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {
        primitive.name: primitive
        for primitive in (
            Primitive("none", lambda channels, stride, affine: Zero(stride), zero=True),
            Primitive("skip_connect", build_skip, identity_at_stride_1=True),
            Primitive("max_pool_3x3", lambda channels, stride, affine: MaxPool(stride), pooling=True),
            Primitive("avg_pool_3x3", lambda channels, stride, affine: AvgPool(stride), pooling=True),
            Primitive("sep_conv_3x3", lambda channels, stride, affine: SepConv(channels, 3, stride, affine)),
            Primitive("sep_conv_5x5", lambda channels, stride, affine: SepConv(channels, 5, stride, affine)),
            Primitive("sep_conv_7x7", lambda channels, stride, affine: SepConv(channels, 7, stride, affine)),
            Primitive("dil_conv_3x3", lambda channels, stride, affine: DilConv(channels, 3, stride, affine)),
            Primitive("dil_conv_5x5", lambda channels, stride, affine: DilConv(channels, 5, stride, affine)),
            Primitive("noise", lambda channels, stride, affine: Noise(stride)),
            Primitive(
                "nor_conv_1x1", lambda channels, stride, affine: ReLUConvBN(channels, channels, 1, stride, 0, affine)
            ),
            Primitive(
                "nor_conv_3x3", lambda channels, stride, affine: ReLUConvBN(channels, channels, 3, stride, 1, affine)
            ),
        )
    }
)
"""Every operation a genotype may name."""


def primitive(name: str) -> Primitive:
    """Return the primitive of that name, or raise a `ValueError` that lists the names there are."""
    if name not in PRIMITIVES:
        close = difflib.get_close_matches(str(name), PRIMITIVES, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"{name!r} is no operation.{hint} The operations are {', '.join(PRIMITIVES)}.")
    return PRIMITIVES[name]


def build_operation(
    name: str, channels: int, stride: int, affine: bool = True, normalized_pooling: bool = False
) -> nn.Module:
    """Build an operation by its name.

    Args:
        name: One of `PRIMITIVES`.
        channels: Of the input and of the output.
        stride: 1 or 2.
        affine: Whether its batch normalisations have a scale and a shift.
        normalized_pooling: Whether a batch normalisation follows a pooling: so in the supernet of the DARTS family, not
            in a network that is retrained.
    """
    if stride not in (1, 2):
        raise ValueError(f"An operation {name!r} has stride 1 or 2; got {stride!r}.")
    if channels < 1:
        raise ValueError(f"An operation {name!r} needs at least 1 channel; got {channels!r}.")
    found = primitive(name)
    operation = found.build(channels, stride, affine)
    if normalized_pooling and found.pooling:
        return nn.Sequential(operation, BatchNorm2d(channels, affine=affine))
    return operation
