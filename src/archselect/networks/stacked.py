"""The operations of a supernet, evaluated together for all edges that leave one source.

A supernet applies the same operation, with different weights, on every edge out of a state. Here the edges' weights
are stacked, so one convolution serves them all; what depends on the source alone (its ReLU, its pooling) is computed
once; and the mixture weight of an edge is the scale of the batch normalisation that ends the operation, so weighting
costs no pass over memory and its gradient comes with the normalisation's. All of it is exact: the result is that of
one module per operation, multiplied and summed.

Each operation maps a `Source` and the mixture weights `(E,)` of its active edges to their weighted outputs `(B, E * C,
H, W)`, added to what other operations on the same edges gave.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Source:
    """A state of a cell and what all operations on it share.

    Args:
        state: `(B, C, H, W)`.
        stride: Of every edge that leaves this state.
    """

    def __init__(self, state: Tensor, stride: int) -> None:
        self.state = state
        self.stride = stride
        self._outputs: dict[SharedOperation, Tensor] = {}

    @cached_property
    def relu(self) -> Tensor:
        """`(B, C, H, W)`: what every convolution starts from."""
        return F.relu(self.state)

    def once(self, operation: "SharedOperation") -> Tensor:
        """Return the operation's output, computed at the first call."""
        if operation not in self._outputs:
            self._outputs[operation] = operation.shared(self)
        return self._outputs[operation]


class StackedWeight(nn.Module):
    """Convolution weights of several edges, `(edges * out, in / groups, k, k)`, each initialised as by `nn.Conv2d`."""

    def __init__(self, edges: int, out_channels: int, in_channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.edges = edges
        self.weight = nn.Parameter(torch.empty(edges * out_channels, in_channels, kernel, kernel))
        bound = 1 / math.sqrt(in_channels * kernel * kernel)
        nn.init.uniform_(self.weight, -bound, bound)

    def of(self, positions: Sequence[int]) -> Tensor:
        """Return `(len(positions) * out, in / groups, k, k)`, the weights of these edges one after another."""
        if len(positions) == self.edges:
            return self.weight
        per_edge = len(self.weight) // self.edges
        if span := _span(positions, per_edge):
            return self.weight[span]
        edges = self.weight.split(per_edge)
        return torch.cat([edges[position] for position in positions])


class StackedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation without affine parameters of `channels` channels on each of several edges."""

    def __init__(self, edges: int, channels: int) -> None:
        super().__init__(edges * channels, affine=False)
        self.num_batches_tracked = None  # counted for cumulative averages only
        self.edges = edges
        self.channels = channels

    def of(self, x: Tensor, positions: Sequence[int], scale: Tensor | None = None) -> Tensor:
        """Normalise `(B, E * C, H, W)`, the edges at `positions`; multiply edge e by `scale[e]` if given."""
        # Contiguous: the CPU kernels read the scale as if it were, and a single edge's would be a view of stride 0.
        weight = None if scale is None else scale.unsqueeze(1).expand(-1, self.channels).flatten().contiguous()
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        if span := _span(positions, self.channels):
            mean, variance = mean[span], variance[span]  # views: the statistics move in place
            return F.batch_norm(x, mean, variance, weight, None, self.training, self.momentum or 0.0, self.eps)
        some = [slice(position * self.channels, (position + 1) * self.channels) for position in positions]
        some_mean = torch.cat([mean[part] for part in some])
        some_variance = torch.cat([variance[part] for part in some])
        out = F.batch_norm(x, some_mean, some_variance, weight, None, self.training, self.momentum or 0.0, self.eps)
        if self.training:
            for part, new_mean, new_variance in zip(
                some, some_mean.split(self.channels), some_variance.split(self.channels), strict=True
            ):
                mean[part] = new_mean
                variance[part] = new_variance
        return out


def _span(positions: Sequence[int], width: int) -> slice | None:
    """Return where consecutive positions lie in a stack of entries of `width`; None if they are not consecutive."""
    first, last = positions[0], positions[-1]
    if last - first + 1 != len(positions):
        return None
    return slice(first * width, (last + 1) * width)


class StackedOperation(nn.Module, ABC):
    """One primitive on several edges out of one source."""

    def forward(self, source: Source, weights: Tensor, positions: Sequence[int], total: Tensor | None = None) -> Tensor:
        """Return `total` plus the weighted outputs of the active edges.

        Args:
            source: The state that the edges leave.
            weights: Mixture weights `(E,)` of the active edges.
            positions: Which of the stacked edges they are.
            total: `(B, E * C, H', W')`, or None for zero.
        """
        out = self.weighted(source, weights, positions)
        return out if total is None else total + out

    @abstractmethod
    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        """Return the weighted outputs `(B, E * C, H', W')`."""


class SharedOperation(StackedOperation):
    """An operation without weights: its output is the same on every edge out of a source and is computed once."""

    @abstractmethod
    def shared(self, source: Source) -> Tensor:
        """Return the output `(B, C, H', W')` for any edge."""

    def forward(self, source: Source, weights: Tensor, positions: Sequence[int], total: Tensor | None = None) -> Tensor:
        """See `StackedOperation`: one multiply-add spreads the output over the edges."""
        if total is None:
            return self.weighted(source, weights, positions)
        out = source.once(self).unsqueeze(1)
        return torch.addcmul(total.unflatten(1, (len(weights), -1)), out, weights.view(-1, 1, 1, 1)).flatten(1, 2)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        """See `StackedOperation`; in the memory format of the output."""
        out = source.once(self)
        if not out.is_contiguous(memory_format=torch.channels_last):
            return (out.unsqueeze(1) * weights.view(-1, 1, 1, 1)).flatten(1, 2)
        last = out.permute(0, 2, 3, 1).unsqueeze(3) * weights.view(-1, 1)  # (B, H, W, E, C)
        return last.flatten(3).permute(0, 3, 1, 2)


class Identity(SharedOperation):
    """`skip_connect` where the stride is 1."""

    def shared(self, source: Source) -> Tensor:
        return source.state


class Pool(SharedOperation):
    """Max or average pooling, 3x3; with `norm`, followed by batch normalisation (the supernets of the DARTS family)."""

    def __init__(self, pool: Callable[[Tensor, int], Tensor], channels: int, norm: bool) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.BatchNorm2d(channels, affine=False) if norm else nn.Identity()

    def shared(self, source: Source) -> Tensor:
        return cast(Tensor, self.norm(self.pool(source.state, source.stride)))


def max_pool(x: Tensor, stride: int) -> Tensor:
    """3x3 max pooling with padding 1."""
    return F.max_pool2d(x, 3, stride, 1)


def average_pool(x: Tensor, stride: int) -> Tensor:
    """3x3 average pooling with padding 1; the average excludes the padding."""
    return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)


class Noise(StackedOperation):
    """N(0, 1), drawn anew at each call and on each edge (S4)."""

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        like = source.state[:, :, :: source.stride, :: source.stride]
        return torch.cat([weight * torch.randn_like(like) for weight in weights.unbind()], dim=1)


class FactorizedReduction(StackedOperation):
    """`skip_connect` at stride 2: ReLU, two Conv1x1 of stride 2, the second shifted by one pixel, concatenated, BN."""

    def __init__(self, edges: int, channels: int) -> None:
        super().__init__()
        self.conv_1 = StackedWeight(edges, channels // 2, channels)
        self.conv_2 = StackedWeight(edges, channels - channels // 2, channels)
        self.norm = StackedBatchNorm(edges, channels)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        even = F.conv2d(source.relu, self.conv_1.of(positions), stride=2).chunk(len(positions), dim=1)
        odd = F.conv2d(source.relu[:, :, 1:, 1:], self.conv_2.of(positions), stride=2).chunk(len(positions), dim=1)
        out = torch.cat([half for pair in zip(even, odd, strict=True) for half in pair], dim=1)
        return self.norm.of(out, positions, weights)


class Convolution(StackedOperation):
    """ReLU, Conv kxk, BN (`nor_conv_*`). All edges read the same input, so together they are one wide convolution."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = StackedWeight(edges, channels, channels, kernel)
        self.norm = StackedBatchNorm(edges, channels)
        self.padding = kernel // 2

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        out = F.conv2d(source.relu, self.conv.of(positions), stride=source.stride, padding=self.padding)
        return self.norm.of(out, positions, weights)


class DepthwiseSeparable(nn.Module):
    """Depthwise kxk, pointwise, BN, for edges that share their input or (`x` of `E * C` channels) have one each."""

    def __init__(self, edges: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = StackedWeight(edges, channels, 1, kernel)
        self.pointwise = StackedWeight(edges, channels, channels)
        self.norm = StackedBatchNorm(edges, channels)
        self.padding = dilation * (kernel // 2)
        self.dilation = dilation

    def forward(self, x: Tensor, stride: int, positions: Sequence[int], scale: Tensor | None = None) -> Tensor:
        """Return `(B, E * C, H', W')`."""
        depthwise = self.depthwise.of(positions)
        if x.shape[1] != len(depthwise):  # the edges share their input
            x = torch.cat([x] * len(positions), dim=1)
        x = F.conv2d(x, depthwise, None, stride, self.padding, self.dilation, groups=len(depthwise))
        x = F.conv2d(x, self.pointwise.of(positions), groups=len(positions))
        return self.norm.of(x, positions, scale)


class DilatedConvolution(StackedOperation):
    """`dil_conv_kxk`: ReLU, depthwise kxk with dilation 2, pointwise, BN."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = DepthwiseSeparable(edges, channels, kernel, dilation=2)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        return cast(Tensor, self.conv(source.relu, source.stride, positions, weights))


class SeparableConvolution(StackedOperation):
    """`sep_conv_kxk`: twice (ReLU, depthwise kxk, pointwise, BN); the stride is in the first."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_1 = DepthwiseSeparable(edges, channels, kernel)
        self.conv_2 = DepthwiseSeparable(edges, channels, kernel)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        x = F.relu_(self.conv_1(source.relu, source.stride, positions))
        return cast(Tensor, self.conv_2(x, 1, positions, weights))


def _skip(edges: int, channels: int, stride: int, norm: bool) -> StackedOperation:
    return Identity() if stride == 1 else FactorizedReduction(edges, channels)


def _pool(
    pool: Callable[[Tensor, int], Tensor], edges: int, channels: int, stride: int, norm: bool
) -> StackedOperation:
    return Pool(pool, channels, norm)


def _noise(edges: int, channels: int, stride: int, norm: bool) -> StackedOperation:
    return Noise()


def _convolution(
    kind: Callable[[int, int, int], StackedOperation], kernel: int, edges: int, channels: int, stride: int, norm: bool
) -> StackedOperation:
    return kind(edges, channels, kernel)


STACKED: Mapping[str, Callable[[int, int, int, bool], StackedOperation]] = {
    "skip_connect": _skip,
    "max_pool_3x3": partial(_pool, max_pool),
    "avg_pool_3x3": partial(_pool, average_pool),
    "noise": _noise,
    **{f"sep_conv_{k}x{k}": partial(_convolution, SeparableConvolution, k) for k in (3, 5, 7)},
    **{f"dil_conv_{k}x{k}": partial(_convolution, DilatedConvolution, k) for k in (3, 5)},
    **{f"nor_conv_{k}x{k}": partial(_convolution, Convolution, k) for k in (1, 3)},
}
"""Primitive -> its stacked form, built from (edges, channels, stride, BN after pooling); `none` needs none."""
