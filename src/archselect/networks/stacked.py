"""The operations of a supernet, with the weights of all edges that leave one source stacked.

A supernet applies the same operation, with different weights, on every edge out of a state. What depends on the source
alone (its ReLU, its pooling) is computed once. There are two ways to evaluate the rest, and both are exact: the result
is that of one module per operation, multiplied and summed.

- `forward`, for GPUs, where every kernel launch costs: all active edges at once, one convolution for them all. The
  mixture weight of an edge is the scale of the batch normalisation that ends the operation, so weighting costs no pass
  over memory and its gradient comes with the normalisation's.
- `add`, for CPUs, where every pass over memory costs: each edge is added in place to the node that it feeds, and where
  an operation ends in a pointwise convolution without ever making its output (see `kernels.projection`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import kernels
from archselect.kernels import Moments
from archselect.kernels.leaving import Arrival, Convolutions, Identities, Operation, Pools, Running, arrive
from archselect.networks.source import Source


class NodeSum:
    """The value of a node while edges add to it, in place."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self._offsets: list[Tensor] = []
        self._arrivals: list[Arrival] = []

    def add(self, output: Tensor) -> None:
        """Add an output `(B, C, H, W)` that nobody else will change."""
        self.total = output if self.total is None else self.total.add_(output)

    def add_projection(self, total: Tensor, offset: Tensor) -> None:
        """Take a new total `(B, C, H, W)`, and `(C,)` that is still to be added to it."""
        self.total = total
        self._offsets.append(offset)

    def add_arrival(self, arrival: Arrival) -> None:
        """Add what comes from a state through compiled loops."""
        self._arrivals.append(arrival)

    def value(self) -> Tensor | None:
        """Return the sum `(B, C, H, W)`, None if nothing was added; nothing can be added from then on."""
        if self.total is not None and self._offsets:
            self.total = self.total.add_(torch.stack(self._offsets).sum(0).view(-1, 1, 1))
        if self._arrivals:
            return arrive(self._arrivals, self.total)
        return self.total


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

    def matrices(self, positions: Sequence[int]) -> Tensor:
        """Return `(len(positions), out, in * k * k)`."""
        return self.of(positions).view(len(positions), len(self.weight) // self.edges, -1)


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

    def running(self) -> Running:
        """Return the running statistics of all stacked edges."""
        return Running(cast(Tensor, self.running_mean), cast(Tensor, self.running_var))

    def project(
        self,
        xs: Sequence[Tensor],
        matrix: Tensor,
        positions: Sequence[int],
        weights: Tensor | None = None,
        totals: Sequence[Tensor | None] | None = None,
        batch: Moments | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Return, per edge, `total + weight * BN(matrix x)`: a sum and what is still to be added to its channels.

        Args:
            xs: One `(B, C', H, W)` in channels_last for all edges, or one for each.
            matrix: `(E, C, C')`.
            positions: Which of the stacked edges they are.
            weights: Mixture weights `(E,)`; None: 1.
            totals: Each `(B, C, H, W)`, changed in place, or None; None: there are none.
            batch: The moments of `xs` if they are known; read in training only.
        """
        running = [cast(Tensor, statistic).view(self.edges, -1) for statistic in (self.running_mean, self.running_var)]
        span = _span(positions, 1)
        mean, variance = (statistic[positions if span is None else span] for statistic in running)
        if not self.training:
            return kernels.project(xs, matrix, mean, variance, weights, totals, None, self.eps)
        batch = kernels.moments(xs) if batch is None else batch
        with torch.no_grad():
            batch_mean, batch_variance = batch.through(matrix)
            momentum = self.momentum or 0.0
            mean.lerp_(batch_mean, momentum)
            variance.lerp_(batch_variance * (batch.count / (batch.count - 1)), momentum)
            if span is None:
                running[0][positions], running[1][positions] = mean, variance
        return kernels.project(xs, matrix, batch_mean, batch_variance, weights, totals, batch, self.eps)


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

    def add(self, source: Source, weights: Tensor, positions: Sequence[int], nodes: Sequence[NodeSum]) -> None:
        """Add the weighted output of each active edge to the node that it leads to.

        Args:
            source: The state that the edges leave, in channels_last.
            weights: Mixture weights `(E,)` of the active edges.
            positions: Which of the stacked edges they are.
            nodes: The node of each edge; changed.
        """
        for weight, position, node in zip(weights.split(1), positions, nodes, strict=True):
            node.add(self.weighted(source, weight, [position]))

    def for_loops(self, weights: Tensor, positions: Sequence[int], receivers: Sequence[int]) -> Operation | None:
        """Return this operation as compiled loops take it, None if they do not; see `kernels.leave`."""
        return None


def _add_projections(
    norm: StackedBatchNorm,
    xs: Sequence[Tensor],
    matrix: Tensor,
    positions: Sequence[int],
    weights: Tensor,
    nodes: Sequence[NodeSum],
    batch: Moments | None = None,
) -> None:
    """Add `weight * BN(matrix x)` of each edge to its node; see `StackedBatchNorm.project`."""
    totals, offsets = norm.project(xs, matrix, positions, weights, [node.total for node in nodes], batch)
    for node, total, offset in zip(nodes, totals, offsets.unbind(), strict=True):
        node.add_projection(total, offset)


class SharedOperation(StackedOperation):
    """An operation without weights: its output is the same on every edge out of a source and is computed once."""

    @abstractmethod
    def shared(self, source: Source) -> Tensor:
        """Return the output `(B, C, H', W')` for any edge."""

    def forward(self, source: Source, weights: Tensor, positions: Sequence[int], total: Tensor | None = None) -> Tensor:
        """See `StackedOperation`: one multiply-add spreads the output over the edges."""
        if total is None:
            return self.weighted(source, weights, positions)
        out = source.once(self.shared).unsqueeze(1)
        return torch.addcmul(total.unflatten(1, (len(weights), -1)), out, weights.view(-1, 1, 1, 1)).flatten(1, 2)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        """See `StackedOperation`; in the memory format of the output."""
        out = source.once(self.shared)
        if not out.is_contiguous(memory_format=torch.channels_last):
            return (out.unsqueeze(1) * weights.view(-1, 1, 1, 1)).flatten(1, 2)
        last = out.permute(0, 2, 3, 1).unsqueeze(3) * weights.view(-1, 1)  # (B, H, W, E, C)
        return last.flatten(3).permute(0, 3, 1, 2)


class Identity(SharedOperation):
    """`skip_connect` where the stride is 1."""

    def shared(self, source: Source) -> Tensor:
        return source.state

    def for_loops(self, weights: Tensor, positions: Sequence[int], receivers: Sequence[int]) -> Operation | None:
        """See `StackedOperation.for_loops`."""
        return Identities(weights, receivers)


class Pool(SharedOperation):
    """Max or average pooling, 3x3; with `norm`, followed by batch normalisation (the supernets of the DARTS family)."""

    def __init__(self, pool: Callable[[Tensor, int], Tensor], channels: int, norm: bool) -> None:
        super().__init__()
        self.pool = pool
        self.norm = StackedBatchNorm(1, channels) if norm else nn.Identity()

    def shared(self, source: Source) -> Tensor:
        return cast(Tensor, self.norm(self.pool(source.state, source.stride)))

    def for_loops(self, weights: Tensor, positions: Sequence[int], receivers: Sequence[int]) -> Operation | None:
        """See `StackedOperation.for_loops`."""
        running = self.norm.running() if isinstance(self.norm, StackedBatchNorm) else None
        return Pools(weights, receivers, self.pool is max_pool, running)


def max_pool(x: Tensor, stride: int) -> Tensor:
    """3x3 max pooling with padding 1."""
    if stride == 1 and kernels.serve(x):
        return kernels.max_pool(x)
    return F.max_pool2d(x, 3, stride, 1)


def average_pool(x: Tensor, stride: int) -> Tensor:
    """3x3 average pooling with padding 1; the average excludes the padding."""
    if stride == 1 and kernels.serve(x):
        return kernels.average_pool(x)
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

    def add(self, source: Source, weights: Tensor, positions: Sequence[int], nodes: Sequence[NodeSum]) -> None:
        """See `StackedOperation.add`."""
        first, second = self.conv_1.matrices(positions), self.conv_2.matrices(positions)
        channels = first.shape[2]
        matrix = torch.cat([F.pad(first, (0, channels)), F.pad(second, (channels, 0))], dim=1)
        batch = source.relu_corners_moments if self.training else None
        _add_projections(self.norm, [source.relu_corners], matrix, positions, weights, nodes, batch)


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

    def add(self, source: Source, weights: Tensor, positions: Sequence[int], nodes: Sequence[NodeSum]) -> None:
        """See `StackedOperation.add`."""
        if self.padding or source.stride > 1:
            super().add(source, weights, positions, nodes)
        else:
            batch = source.relu_moments if self.training else None
            matrix = self.conv.matrices(positions)
            _add_projections(self.norm, [source.relu], matrix, positions, weights, nodes, batch)

    def for_loops(self, weights: Tensor, positions: Sequence[int], receivers: Sequence[int]) -> Operation | None:
        """See `StackedOperation.for_loops`."""
        convolution = kernels.Convolution(None, self.conv.weight, self.norm.running())
        return Convolutions(weights, receivers, positions, (convolution,))


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

    def each(self, xs: Sequence[Tensor], stride: int, positions: Sequence[int]) -> list[Tensor]:
        """Return the output `(B, C, H', W')` of each edge; `xs` is one input for all or one for each."""
        outputs, _ = self.norm.project(self._depthwise(xs, stride, positions), self._matrices(positions), positions)
        return outputs

    def add(
        self,
        xs: Sequence[Tensor],
        stride: int,
        positions: Sequence[int],
        weights: Tensor,
        nodes: Sequence[NodeSum],
        dilation: int | None = None,
    ) -> None:
        """Add the weighted output of each edge to the node that it leads to; `dilation` replaces the operation's."""
        xs = self._depthwise(xs, stride, positions, dilation)
        _add_projections(self.norm, xs, self._matrices(positions), positions, weights, nodes)

    def for_loops(self) -> kernels.Convolution:
        """Return the parameters and statistics of all stacked edges."""
        return kernels.Convolution(self.depthwise.weight, self.pointwise.weight, self.norm.running(), self.dilation)

    def _depthwise(
        self, xs: Sequence[Tensor], stride: int, positions: Sequence[int], dilation: int | None = None
    ) -> list[Tensor]:
        return kernels.depthwise_convolutions(xs, self.depthwise.of(positions), stride, dilation or self.dilation)

    def _matrices(self, positions: Sequence[int]) -> Tensor:
        return self.pointwise.matrices(positions)


class DilatedConvolution(StackedOperation):
    """`dil_conv_kxk`: ReLU, depthwise kxk with dilation 2, pointwise, BN."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = DepthwiseSeparable(edges, channels, kernel, dilation=2)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        return cast(Tensor, self.conv(source.relu, source.stride, positions, weights))

    def add(self, source: Source, weights: Tensor, positions: Sequence[int], nodes: Sequence[NodeSum]) -> None:
        """See `StackedOperation.add`."""
        if source.stride == 2:  # its taps, two pixels apart, meet every second pixel only
            self.conv.add([source.relu_even], 1, positions, weights, nodes, dilation=1)
        else:
            self.conv.add([source.relu], 1, positions, weights, nodes)

    def for_loops(self, weights: Tensor, positions: Sequence[int], receivers: Sequence[int]) -> Operation | None:
        """See `StackedOperation.for_loops`."""
        return Convolutions(weights, receivers, positions, (self.conv.for_loops(),))


class SeparableConvolution(StackedOperation):
    """`sep_conv_kxk`: twice (ReLU, depthwise kxk, pointwise, BN); the stride is in the first."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_1 = DepthwiseSeparable(edges, channels, kernel)
        self.conv_2 = DepthwiseSeparable(edges, channels, kernel)

    def weighted(self, source: Source, weights: Tensor, positions: Sequence[int]) -> Tensor:
        x = F.relu_(self.conv_1(source.relu, source.stride, positions))
        return cast(Tensor, self.conv_2(x, 1, positions, weights))

    def add(self, source: Source, weights: Tensor, positions: Sequence[int], nodes: Sequence[NodeSum]) -> None:
        """See `StackedOperation.add`."""
        xs = [F.relu_(x) for x in self.conv_1.each([source.relu], source.stride, positions)]
        self.conv_2.add(xs, 1, positions, weights, nodes)

    def for_loops(self, weights: Tensor, positions: Sequence[int], receivers: Sequence[int]) -> Operation | None:
        """See `StackedOperation.for_loops`."""
        return Convolutions(weights, receivers, positions, (self.conv_1.for_loops(), self.conv_2.for_loops()))


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
