"""Weights and statistics of several edges, stacked."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from archselect import kernels
from archselect.distributed.batch_norm import BatchNorm2d, batch_norm


class StackedWeight(nn.Module):
    """Convolution weights of several edges, `(edges * out, in / groups, k, k)`, each initialised as by `nn.Conv2d`."""

    def __init__(self, edges: int, out_channels: int, in_channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.edges = edges
        self.weight = nn.Parameter(torch.empty(edges * out_channels, in_channels, kernel, kernel))
        bound = 1 / math.sqrt(in_channels * kernel * kernel)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, positions: Sequence[int]) -> Tensor:
        """Return `(len(positions) * out, in / groups, k, k)`, the weights of these edges one after another."""
        if len(positions) == self.edges:
            return self.weight
        per_edge = len(self.weight) // self.edges
        if span := _span(positions, per_edge):
            return self.weight[span]
        edges = self.weight.split(per_edge)
        return torch.cat([edges[position] for position in positions])


class StackedBatchNorm(BatchNorm2d):
    """Batch normalisation without affine parameters of `channels` channels on each of several edges.

    `num_batches_tracked` `(edges,)` counts for each edge the batches of a cumulative average (`momentum=None`), and
    those alone: counting all would be one more kernel on a GPU for each normalisation. It is no part of a `state_dict`.
    """

    def __init__(self, edges: int, channels: int) -> None:
        super().__init__(edges * channels, affine=False)
        self.register_buffer("num_batches_tracked", torch.zeros(edges, dtype=torch.long), persistent=False)
        self.edges = edges
        self.channels = channels

    def forward(self, x: Tensor, positions: Sequence[int] | None = None, scale: Tensor | None = None) -> Tensor:
        """Normalise `(B, E * C, H, W)`, the edges at `positions`, by default all; multiply edge e by `scale[e]`."""
        positions = range(self.edges) if positions is None else positions
        # Contiguous: the CPU kernels read the scale as if it were, and a single edge's would be a view of stride 0.
        weight = None if scale is None else scale.unsqueeze(1).expand(-1, self.channels).flatten().contiguous()
        if self.training and self.momentum is None and self.num_batches_tracked is not None:
            batch_mean, batch_variance = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
            out = batch_norm(x, batch_mean, batch_variance, weight, None, True, 1.0, self.eps)
            self._average(positions, batch_mean, batch_variance)
            return out
        running = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        options = weight, None, self.training, self.momentum or 0.0, self.eps
        if span := _span(positions, self.channels):
            mean, variance = (statistic[span] for statistic in running)  # views: the statistics move in place
            return batch_norm(x, mean, variance, *options)
        parts = [slice(position * self.channels, (position + 1) * self.channels) for position in positions]
        mean, variance = (torch.cat([statistic[part] for part in parts]) for statistic in running)
        out = batch_norm(x, mean, variance, *options)
        if self.training:
            for statistic, moved in zip(running, (mean, variance), strict=True):
                for part, new in zip(parts, moved.split(self.channels), strict=True):
                    statistic[part] = new
        return out

    def _average(self, positions: Sequence[int], mean: Tensor, variance: Tensor) -> None:
        """Move the cumulative averages of edges by a batch's mean and variance: of n batches it counts 1 / n."""
        counts = cast(Tensor, self.num_batches_tracked)
        index = torch.tensor(positions, device=counts.device)
        counts[index] += 1
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            per_edge = cast(Tensor, running).view(self.edges, self.channels)
            share = 1 / counts[index].to(per_edge.dtype).unsqueeze(1)
            per_edge[index] = per_edge[index].lerp(new.to(per_edge.dtype).view(-1, self.channels), share)

    def running(self, position: int | None = None) -> kernels.Running:
        """Return the running statistics of all stacked edges, or of one."""
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        if position is not None:
            mean, variance = mean.view(self.edges, -1)[position], variance.view(self.edges, -1)[position]
        return kernels.Running(mean, variance)


def _span(positions: Sequence[int], width: int) -> slice | None:
    """Return where consecutive positions lie in a stack of entries of `width`; None if they are not consecutive."""
    first, last = positions[0], positions[-1]
    if last - first + 1 != len(positions):
        return None
    return slice(first * width, (last + 1) * width)
