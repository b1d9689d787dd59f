"""Nodes of a cell as PyTorch's operators compute them, and states with many operations to compare them on."""

from collections import defaultdict

import torch
import torch.nn.functional as F
from tests.kernels.plain_comparison import random, statistics

from archselect import kernels


def nodes_by_loops(state, operations, stride, arrivals, batch):
    return [kernels.node_sum([arrival]) for arrival in kernels.edge_forward(state, operations, stride, arrivals, batch)]


def plain_nodes(state, operations, stride, arrivals, batch):
    """Return, for each node, the sum over all operations and edges of weight times what the operation gives."""
    nodes = [torch.zeros_like(state[:, :, ::stride, ::stride]) for _ in range(arrivals)]
    for operation in operations:
        values = values_on_edges(operation, state, stride, batch)
        for weight, receiver, value in zip(operation.weights, operation.receivers, values, strict=True):
            nodes[receiver] = nodes[receiver] + weight * value
    return nodes


def values_on_edges(operation, state, stride, batch):
    """Return what an operation gives on each of its edges, without weights."""
    edges = len(operation.receivers)
    if isinstance(operation, kernels.Identities):
        return [state] * edges
    if isinstance(operation, kernels.Values):
        return operation.values
    if isinstance(operation, kernels.Convolutions):
        return [convolved(state, operation.stages, position, stride, batch) for position in operation.positions]
    return [pooled(state, operation, stride, batch)] * edges


def pooled(x, pools, stride, batch):
    out = F.max_pool2d(x, 3, stride, 1) if pools.maximum else F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    return out if pools.norm is None else normalised(out, pools.norm, batch)


def convolved(x, stages, position, stride, batch):
    """Return what the stages give on the edge that stands at a position of the stack."""
    channels = x.shape[1]
    part = slice(position * channels, (position + 1) * channels)
    for stage in stages:
        x, padding = F.relu(x), stage.dilation * (stage.kernel // 2)
        if stage.depthwise is None:
            x = F.conv2d(x, stage.mixing[part], None, stride, padding)
        else:
            x = F.conv2d(x, stage.depthwise[part], None, stride, padding, stage.dilation, channels)
            x = F.conv2d(x, stage.mixing[part])
        affine = (None, None) if stage.affine is None else (parameter[part] for parameter in stage.affine)
        x = normalised(x, kernels.Running(stage.norm.mean[part], stage.norm.variance[part]), batch, *affine)
        stride = 1
    return x


def normalised(x, norm, batch, scale=None, shift=None):
    return F.batch_norm(x, norm.mean, norm.variance, scale, shift, batch.training, batch.momentum, batch.eps)


class Leaving:
    """Random operations on the edges out of a random state.

    Args:
        affine: Whether normalisations of convolutions have scale and shift.

    Attributes:
        made: What autograd may be asked about: the state, mixture weights, parameters and values.
        moved: All running statistics.
        kinds: Makes operations of each kind; stacks have four edges, of which some are left out.
    """

    def __init__(self, images=2, channels=3, size=(5, 4), stride=1, affine=False, dtype=torch.float64):
        self.images, self.channels, self.size, self.stride = images, channels, size, stride
        self.affine, self.dtype = affine, dtype
        self.made, self.moved = defaultdict(list), []
        self.state = self._make("state", images, channels, *size)
        self.kinds = {
            "identities": self._identities,
            "normalised pools": lambda: [self.pools(True, (0, 1, 2)), self.pools(False, (2, 0))],
            "bare pools": lambda: [self.pools(True, (1,), norm=False), self.pools(False, (1, 2), norm=False)],
            "dense": lambda: [self.convolutions((2, 0), (0, 3), 3), self.convolutions((1,), (2,), 1)],
            "separable once": lambda: [self.convolutions((2, 0, 1), (3, 1, 0), 3, separable=True, dilation=2)],
            "separable twice": lambda: [
                self.convolutions((0, 1), (1, 2), 3, separable=True, stages=2),
                self.convolutions((2,), (0,), 5, separable=True, stages=2),
            ],
            "dense twice": lambda: [self.convolutions((1, 2), (0, 2), 3, stages=2)],
            "wide": lambda: [
                self.convolutions((1,), (3,), 5),
                self.convolutions((0,), (1,), 7),
                self.convolutions((2, 1), (1, 0), 7, separable=True, stages=2),
                self.convolutions((0,), (2,), 5, separable=True, dilation=2),
            ],
            "values": lambda: [self._values((1, 0))],
        }

    def all_kinds(self):
        """Return operations of each kind that there is at this stride."""
        kinds = [make for kind, make in self.kinds.items() if self.stride == 1 or kind != "identities"]
        return [operation for make in kinds for operation in make()]

    def _make(self, kind, *shape):
        self.made[kind].append(random(*shape, dtype=self.dtype))
        return self.made[kind][-1]

    def _norm(self, channels):
        norm = statistics(channels, self.dtype)
        self.moved += [norm.mean, norm.variance]
        return norm

    def _identities(self):
        return [kernels.Identities(self._make("weights", 2), (0, 2))]

    def pools(self, maximum, receivers, norm=True):
        weights = self._make("weights", len(receivers))
        return kernels.Pools(weights, receivers, maximum, self._norm(self.channels) if norm else None)

    def convolutions(self, receivers, positions, kernel, separable=False, dilation=1, stages=1):
        weights = self._make("weights", len(receivers))
        made = tuple(self._convolution(kernel, separable, dilation) for _ in range(stages))
        return kernels.Convolutions(weights, receivers, positions, made)

    def _convolution(self, kernel, separable, dilation):
        stack = 4 * self.channels
        depthwise = self._make("parameters", stack, 1, kernel, kernel) if separable else None
        across = 1 if separable else kernel
        mixing = self._make("parameters", stack, self.channels, across, across)
        affine = (self._make("parameters", stack), self._make("parameters", stack)) if self.affine else None
        return kernels.Convolution(depthwise, mixing, self._norm(stack), dilation, affine)

    def _values(self, receivers):
        size = [-(-side // self.stride) for side in self.size]
        weights = self._make("weights", len(receivers))
        values = tuple(self._make("values", self.images, self.channels, *size) for _ in receivers)
        return kernels.Values(weights, receivers, values)

    def tensors(self):
        return [tensor for tensors in self.made.values() for tensor in tensors]

    def need(self, *kinds):
        """Let only what is of these kinds need a gradient."""
        for kind, tensors in self.made.items():
            for tensor in tensors:
                tensor.requires_grad_(kind in kinds)


def mixed(parts, weights, norm, batch):
    """Return what `kernels.mix` gives."""
    x = F.relu(torch.cat(list(parts), dim=1))
    if len(weights) == 1:
        out = F.conv2d(x, weights[0])
    else:
        out = torch.cat([F.conv2d(x, weights[0], stride=2), F.conv2d(x[:, :, 1:, 1:], weights[1], stride=2)], dim=1)
    return normalised(out, norm, batch)
