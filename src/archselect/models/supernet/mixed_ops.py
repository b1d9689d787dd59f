"""The operations of a supernet, with the weights of all edges that leave one state stacked.

A supernet applies the same operation, with different weights, on every edge out of a state. What depends on the state
alone (its ReLU, its pooling) is computed once. There are two ways to evaluate the rest, and both are exact: the result
is that of one module per operation, multiplied and summed.

- `forward`, for GPUs, where every kernel launch costs: all active edges at once, one convolution for them all. The
  mixture weight of an edge is the scale of the batch normalisation that ends the operation, so weighting costs no pass
  over memory and its gradient comes with the normalisation's.
- `for_kernels`, for CPUs, where every pass over memory costs: compiled loops take all operations out of a state and
  read each image while it is in the cache (see `kernels`). An operation only says what they need to know of it, which
  is all there is to know as long as its modules are those of `PARTS`, and untouched.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import kernels
from archselect.models.cell_space import CellSpace, OutputRule
from archselect.models.ops.convolution import subsampled
from archselect.models.ops.primitives import half_of
from archselect.models.supernet.stacked_parameters import StackedBatchNorm, StackedWeight

KernelOp = kernels.Operation
Positions = Sequence[int]
"""Which of the stacked edges, or which of the nodes they lead to."""


class CellState:
    """A state of a cell, `(B, C, H, W)`, the stride of the edges that leave it, and what all operations on it share."""

    def __init__(self, state: Tensor, stride: int = 1) -> None:
        self.state, self.stride = state, stride
        self._relu: Tensor | None = None  # no `cached_property`: `torch.compile` cannot trace the lock in it

    @property
    def relu(self) -> Tensor:
        """`(B, C, H, W)`: what every convolution starts from."""
        if self._relu is None:
            self._relu = F.relu(self.state)
        return self._relu


class CellOutput:
    """The nodes of a cell, each `(B, C, H, W)`, as later cells and the classifier read them: all, or the last."""

    def __init__(self, nodes: Sequence[Tensor], output: OutputRule = "last") -> None:
        self.parts = tuple(nodes) if output == "concat" else (nodes[-1],)
        self._value = self.parts[0] if len(self.parts) == 1 else None

    @property
    def value(self) -> Tensor:
        """`(B, len(parts) * C, H, W)`."""
        if self._value is None:
            self._value = torch.cat(self.parts, dim=1)
        return self._value


class StackedOperation(nn.Module, ABC):
    """One primitive on several edges out of one source."""

    def forward(self, source: CellState, weights: Tensor, positions: Positions, total: Tensor | None = None) -> Tensor:
        """Return `total`, `(B, E * C, H', W')`, plus the outputs of the active edges times their weights `(E,)`."""
        out = self.weighted(source, weights, positions)
        return out if total is None else total + out

    @abstractmethod
    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        """Return the weighted outputs `(B, E * C, H', W')`."""

    @abstractmethod
    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        """Return the active edges as `kernels.edge_forward` takes them, and to which of its receivers each leads."""


class SharedOperation(StackedOperation):
    """An operation without weights: its output is the same on every edge out of a source and is computed once."""

    @abstractmethod
    def shared(self, source: CellState) -> Tensor:
        """Return the output `(B, C, H', W')` for any edge."""

    def forward(self, source: CellState, weights: Tensor, positions: Positions, total: Tensor | None = None) -> Tensor:
        """One multiply-add spreads the output over the edges."""
        if total is None:
            return self.weighted(source, weights, positions)
        out = self.shared(source).unsqueeze(1)
        return torch.addcmul(total.unflatten(1, (len(weights), -1)), out, weights.view(-1, 1, 1, 1)).flatten(1, 2)

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        """In the memory format of the output."""
        out = self.shared(source)
        channels, _, width = out.shape[1:]
        if out.stride()[1:] != (1, width * channels, channels):  # not in channels_last; `vmap` cannot be asked for that
            return (out.unsqueeze(1) * weights.view(-1, 1, 1, 1)).flatten(1, 2)
        last = out.permute(0, 2, 3, 1).unsqueeze(3) * weights.view(-1, 1)  # (B, H, W, E, C)
        return last.flatten(3).permute(0, 3, 1, 2)


class Identity(SharedOperation):
    """`skip_connect` where the stride is 1."""

    def shared(self, source: CellState) -> Tensor:
        return source.state

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        return kernels.Identities(weights, receivers)


class Pool(SharedOperation):
    """Max or average pooling, 3x3; with `norm`, followed by batch normalisation (the supernets of the DARTS family)."""

    def __init__(self, maximum: bool, channels: int, norm: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.norm = StackedBatchNorm(1, channels) if norm else nn.Identity()

    def shared(self, source: CellState) -> Tensor:
        if self.maximum:
            return cast(Tensor, self.norm(F.max_pool2d(source.state, 3, source.stride, 1)))
        return cast(Tensor, self.norm(F.avg_pool2d(source.state, 3, source.stride, 1, count_include_pad=False)))

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        running = self.norm.running() if isinstance(self.norm, StackedBatchNorm) else None
        return kernels.Pools(weights, receivers, self.maximum, running)


class Noise(StackedOperation):
    """N(0, 1), drawn anew at each call and on each edge (S4)."""

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        like = source.state[:, :, :: source.stride, :: source.stride]
        return torch.cat([weight * torch.randn_like(like) for weight in weights.unbind()], dim=1)

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        like = source.state[:, :, :: source.stride, :: source.stride]
        return kernels.Values(weights, receivers, tuple(torch.randn_like(like) for _ in positions))


class FactorizedReduction(StackedOperation):
    """`skip_connect` at stride 2: ReLU, two Conv1x1 of stride 2, the second shifted by one pixel, concatenated, BN."""

    def __init__(self, edges: int, channels: int) -> None:
        super().__init__()
        self.conv_1 = StackedWeight(edges, half_of(channels), channels)
        self.conv_2 = StackedWeight(edges, half_of(channels), channels)
        self.norm = StackedBatchNorm(edges, channels)

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        even = F.conv2d(subsampled(source.relu, 2), self.conv_1(positions)).chunk(len(positions), dim=1)
        odd = F.conv2d(subsampled(source.relu[:, :, 1:, 1:], 2), self.conv_2(positions)).chunk(len(positions), dim=1)
        out = torch.cat([half for pair in zip(even, odd, strict=True) for half in pair], dim=1)
        return self.norm(out, positions, weights)

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        batch = kernels.norm_mode([self.norm])
        assert batch is not None, "asked for without `norms_for_kernels`"

        def value(position: int) -> Tensor:
            halves = [self.conv_1([position]), self.conv_2([position])]
            return kernels.mix([source.state], halves, self.norm.running(position), batch)

        return kernels.Values(weights, receivers, tuple(map(value, positions)))


class Convolution(StackedOperation):
    """ReLU, Conv kxk, BN (`nor_conv_*`). All edges read the same input, so together they are one wide convolution."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = StackedWeight(edges, channels, channels, kernel)
        self.norm = StackedBatchNorm(edges, channels)

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        weight = self.conv(positions)
        padding = weight.shape[-1] // 2
        x, stride = (source.relu, source.stride) if padding else (subsampled(source.relu, source.stride), 1)
        out = F.conv2d(x, weight, stride=stride, padding=padding)
        return self.norm(out, positions, weights)

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        convolution = kernels.Convolution(None, self.conv.weight, self.norm.running())
        return kernels.Convolutions(weights, receivers, positions, (convolution,))


class DepthwiseSeparable(nn.Module):
    """Depthwise kxk, pointwise, BN, for edges that share their input or (`x` of `E * C` channels) have one each."""

    def __init__(self, edges: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = StackedWeight(edges, channels, 1, kernel)
        self.pointwise = StackedWeight(edges, channels, channels)
        self.norm = StackedBatchNorm(edges, channels)
        self.dilation = dilation

    def forward(self, x: Tensor, stride: int, positions: Positions, scale: Tensor | None = None) -> Tensor:
        """Return `(B, E * C, H', W')`."""
        depthwise = self.depthwise(positions)
        if x.shape[1] != len(depthwise):  # the edges share their input
            x = torch.cat([x] * len(positions), dim=1)
        padding = self.dilation * (depthwise.shape[-1] // 2)
        x = F.conv2d(x, depthwise, None, stride, padding, self.dilation, groups=len(depthwise))
        x = F.conv2d(x, self.pointwise(positions), groups=len(positions))
        return self.norm(x, positions, scale)

    def for_kernels(self) -> kernels.Convolution:
        """Return the parameters and statistics of all stacked edges."""
        return kernels.Convolution(self.depthwise.weight, self.pointwise.weight, self.norm.running(), self.dilation)


class DilatedConvolution(StackedOperation):
    """`dil_conv_kxk`: ReLU, depthwise kxk with dilation 2, pointwise, BN."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = DepthwiseSeparable(edges, channels, kernel, dilation=2)

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        return cast(Tensor, self.conv(source.relu, source.stride, positions, weights))

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        return kernels.Convolutions(weights, receivers, positions, (self.conv.for_kernels(),))


class SeparableConvolution(StackedOperation):
    """`sep_conv_kxk`: twice (ReLU, depthwise kxk, pointwise, BN); the stride is in the first."""

    def __init__(self, edges: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_1 = DepthwiseSeparable(edges, channels, kernel)
        self.conv_2 = DepthwiseSeparable(edges, channels, kernel)

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        x = F.relu_(self.conv_1(source.relu, source.stride, positions))
        return cast(Tensor, self.conv_2(x, 1, positions, weights))

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        stages = self.conv_1.for_kernels(), self.conv_2.for_kernels()
        return kernels.Convolutions(weights, receivers, positions, stages)


class OwnModules(StackedOperation):
    """An operation of a user's own: a module for each edge, evaluated one after the other.

    Args:
        name: Of the operation, for messages.
        modules: One for each edge, without affine normalisations.
    """

    def __init__(self, name: str, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.name = name
        self.edges = nn.ModuleList(modules)

    def weighted(self, source: CellState, weights: Tensor, positions: Positions) -> Tensor:
        pairs = zip(self._outputs(source, positions), weights.unbind(), strict=True)
        return torch.cat([weight * output for output, weight in pairs], dim=1)

    def for_kernels(self, source: CellState, weights: Tensor, positions: Positions, receivers: Positions) -> KernelOp:
        return kernels.Values(weights, receivers, self._outputs(source, positions))

    def _outputs(self, source: CellState, positions: Positions) -> tuple[Tensor, ...]:
        """Return the output `(B, C, H', W')` on each edge; a ValueError for another shape."""
        outputs = tuple(self.edges[position](source.state) for position in positions)
        state, stride = source.state, source.stride
        expected = (*state.shape[:2], *(-(-side // stride) for side in state.shape[2:]))
        for output in outputs:
            if output.shape != expected:  # compiled loops would read beyond its memory
                raise ValueError(
                    f"Operation {self.name!r} must map {tuple(state.shape)} at stride {stride} to {expected}; got "
                    f"{tuple(output.shape)}. Correct its class, or take images of another size."
                )
        return outputs


STACKED: Mapping[str, Callable[[int, int, int, bool], StackedOperation]] = {
    "skip_connect": lambda edges, channels, stride, norm: (
        Identity() if stride == 1 else FactorizedReduction(edges, channels)
    ),
    "max_pool_3x3": lambda edges, channels, stride, norm: Pool(True, channels, norm),
    "avg_pool_3x3": lambda edges, channels, stride, norm: Pool(False, channels, norm),
    "sep_conv_3x3": lambda edges, channels, stride, norm: SeparableConvolution(edges, channels, 3),
    "sep_conv_5x5": lambda edges, channels, stride, norm: SeparableConvolution(edges, channels, 5),
    "sep_conv_7x7": lambda edges, channels, stride, norm: SeparableConvolution(edges, channels, 7),
    "dil_conv_3x3": lambda edges, channels, stride, norm: DilatedConvolution(edges, channels, 3),
    "dil_conv_5x5": lambda edges, channels, stride, norm: DilatedConvolution(edges, channels, 5),
    "noise": lambda edges, channels, stride, norm: Noise(),
    "nor_conv_1x1": lambda edges, channels, stride, norm: Convolution(edges, channels, 1),
    "nor_conv_3x3": lambda edges, channels, stride, norm: Convolution(edges, channels, 3),
}
"""Primitive -> its stacked form, built from (edges, channels, stride, BN after pooling); `none` needs none."""


def stacked(name: str, space: CellSpace, edges: int, channels: int, stride: int, norm: bool) -> StackedOperation:
    """Return an operation of a space on so many edges out of a state; `norm`: with a normalisation after pooling."""
    if name in STACKED:
        return STACKED[name](edges, channels, stride, norm)
    return OwnModules(name, (space.primitives[name].build(channels, stride, False) for _ in range(edges)))


PARTS: Mapping[type[nn.Module], tuple[tuple[type[nn.Module], ...], ...]] = {
    Identity: ((),),
    Pool: ((StackedBatchNorm,), (nn.Identity,)),
    OwnModules: ((nn.ModuleList,),),
    Noise: ((),),
    FactorizedReduction: ((StackedWeight, StackedWeight, StackedBatchNorm),),
    Convolution: ((StackedWeight, StackedBatchNorm),),
    DilatedConvolution: ((DepthwiseSeparable,),),
    SeparableConvolution: ((DepthwiseSeparable, DepthwiseSeparable),),
    DepthwiseSeparable: ((StackedWeight, StackedWeight, StackedBatchNorm),),
    StackedWeight: ((),),
    StackedBatchNorm: ((),),
    nn.Identity: ((),),
}
"""What the operations are made of: module -> the classes of its children, and other choices of them."""


def norms_for_kernels(operations: Iterable[StackedOperation]) -> list[StackedBatchNorm] | None:
    """Return the normalisations of operations; None if `for_kernels` does not say all of them: a module was changed."""
    norms: list[StackedBatchNorm] = []
    parts: list[nn.Module] = list(operations)
    for part in parts:  # which grows
        children = part.__dict__["_modules"].values()
        if not kernels.untouched(part, PARTS) or tuple(map(type, children)) not in PARTS[type(part)]:
            return None
        if isinstance(part, StackedBatchNorm):
            norms.append(part)
        if not isinstance(part, OwnModules):  # which are evaluated as they are
            parts += children
    return norms
