"""The one table of names: genotypes and search spaces store these."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from archselect.operations.batch_norm import BatchNorm2d
from archselect.operations.convolution import DilConv, ReLUConvBN, SepConv
from archselect.operations.pooling import AvgPool, MaxPool
from archselect.operations.skip import build_skip
from archselect.operations.sourceless import Noise, Zero


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
