"""The operations out of a state of a cell, as compiled loops take them, and which modules they stand for.

They stand for modules that do what they compute, and nothing besides. That is looked at at every call, since a child
may be replaced and a hook be added at any time; a microsecond each.
"""

import logging
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from torch import Tensor, nn

from archselect.kernels.cpu.native import NormMode, Running
from archselect.kernels.interface import is_plain

log = logging.getLogger(__name__)

STATISTICS = ("running_mean", "running_var")


def untouched(module: nn.Module, kinds: Container[type[nn.Module]]) -> bool:
    """Return whether calling `module` runs the `forward` of one of these classes on tensors in the CPU's memory only.

    It does not with hooks, with a `forward` of its own, or as another class: a subclass, or what a parametrization
    makes of it. A module that was changed is slower than it could be, which is said once.
    """
    state = module.__dict__
    if (
        type(module) in kinds
        and not state["_forward_hooks"]
        and not state["_forward_pre_hooks"]
        and not state["_backward_hooks"]
        and not state["_backward_pre_hooks"]
        and "forward" not in state
        and all(map(is_plain, state["_parameters"].values()))
    ):
        return True
    _say_once(type(module).__name__)
    return False


def made_of(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether the children of `module` are untouched modules of these classes, one each."""
    children = module.__dict__["_modules"].values()
    return len(children) == len(kinds) and all(map(untouched, children, ((kind,) for kind in kinds)))


def keeps_size(convolution: nn.Conv2d, sides: Collection[int], depthwise: bool = False) -> bool:
    """Return whether a convolution maps `(B, C, H, W)` to `(B, C, ceil(H / stride), ceil(W / stride))` as loops do.

    Its kernel is square, of one of these sides, its stride 1 or 2, the images are continued by zeros, and there is no
    bias. With `depthwise` each channel has a kernel of its own, which may be dilated; without, there is one group.
    """
    outs, ins, height, width = convolution.weight.shape
    if height != width or height not in sides or convolution.bias is not None:
        return False
    dilations = ((1, 1), (2, 2)) if depthwise else ((1, 1),)
    return (
        (ins, convolution.groups) == ((1, outs) if depthwise else (outs, 1))
        and convolution.stride in ((1, 1), (2, 2))
        and convolution.dilation in dilations
        and convolution.padding == (convolution.dilation[0] * (height // 2),) * 2
        and convolution.padding_mode == "zeros"
    )


def is_pointwise(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution reads each pixel by itself."""
    return (
        convolution.weight.shape[2:] == (1, 1)
        and convolution.bias is None
        and convolution.groups == 1
        and convolution.stride == (1, 1)
        and convolution.padding == (0, 0)
        and convolution.padding_mode == "zeros"
    )


def norm_mode(norms: Iterable[nn.BatchNorm2d]) -> NormMode | None:
    """Return how normalisations treat a batch; None where the loops cannot do it.

    They cannot where normalisations differ, average cumulatively (`momentum=None`), have no running statistics, or a
    scale without a shift. Of no normalisation at all, any way will do.
    """
    ways = {(norm.training, norm.momentum, norm.eps, _is_whole(norm)) for norm in norms} or {(False, 0.0, 0.0, True)}
    training, momentum, eps, whole = ways.pop()
    if ways or not whole or (training and momentum is None):
        return None
    return NormMode(training, momentum or 0.0, eps)


def _is_whole(norm: nn.BatchNorm2d) -> bool:
    parameters, buffers = norm.__dict__["_parameters"], norm.__dict__["_buffers"]  # their attributes take far longer
    statistics = norm.track_running_stats and all(buffers[name] is not None for name in STATISTICS)
    return statistics and (parameters["weight"] is None) == (parameters["bias"] is None)


def running(norm: nn.BatchNorm2d) -> Running:
    """Return the running statistics of a normalisation, and count the batch that will move them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return Running(norm.running_mean, norm.running_var)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor] | None:
    """Return scale and shift of a normalisation, if it has any."""
    return None if norm.weight is None else (norm.weight, norm.bias)


@lru_cache
def _say_once(kind: str) -> None:
    log.warning(
        "A %s has hooks or is not as the network was built with it: what it is a part of runs on PyTorch's operators, "
        "which is slower.",
        kind,
    )


SEPARABLE_KERNELS, DENSE_KERNELS = (3, 5, 7), (1, 3, 5, 7, 9, 11)


@dataclass(frozen=True)
class Convolution:
    """ReLU, convolution, BN on all edges of a stack.

    Attributes:
        depthwise: `(edges * C, 1, k, k)`; None: the convolution is not separable.
        mixing: What follows it, `(edges * C, C, 1, 1)`, or the whole convolution, `(edges * C, C, k, k)` with stride
            and padding like the others'.
        norm: What the normalisation gathers.
        dilation: Of the depthwise taps.
        affine: Scale and shift of the normalisation, `(edges * C,)` each, if it has any.
    """

    depthwise: Tensor | None
    mixing: Tensor
    norm: Running
    dilation: int = 1
    affine: tuple[Tensor, Tensor] | None = None

    @property
    def kernel(self) -> int:
        """Return k."""
        return (self.mixing if self.depthwise is None else self.depthwise).shape[-1]


@dataclass(frozen=True)
class Identities:
    """`skip_connect`.

    Attributes:
        weights: The mixture weights `(E,)`.
        receivers: Which of the arrivals each edge adds to.
    """

    weights: Tensor
    receivers: Sequence[int]


@dataclass(frozen=True)
class Pools:
    """3x3 pooling; with `norm`, followed by a batch normalisation that the edges share. See `Identities`."""

    weights: Tensor
    receivers: Sequence[int]
    maximum: bool
    norm: Running | None


@dataclass(frozen=True)
class Convolutions:
    """One or two convolutions, one after the other, on each of several edges.

    Attributes:
        weights: See `Identities`.
        receivers: See `Identities`.
        positions: Which of the stacked edges they are.
        stages: The first reads the state, the second what the first gave.
    """

    weights: Tensor
    receivers: Sequence[int]
    positions: Sequence[int]
    stages: tuple[Convolution, ...]

    def fills(self, channels: int) -> bool:
        """Return whether these are all stacked edges."""
        return len(self.positions) * channels == len(self.stages[0].mixing)


@dataclass(frozen=True)
class Values:
    """Any other operation, evaluated before: what it gave on each edge, `(B, C, H', W')`. See `Identities`."""

    weights: Tensor
    receivers: Sequence[int]
    values: tuple[Tensor, ...]


Operation = Identities | Pools | Convolutions | Values
Kind = Literal["weights", "parameter", "value"]


def tensors_of(operation: Operation) -> Iterator[tuple[Kind, Tensor]]:
    """Yield the tensors of an operation that autograd looks after."""
    yield "weights", operation.weights
    if isinstance(operation, Convolutions):
        for stage in operation.stages:
            for tensor in (stage.depthwise, stage.mixing, *(stage.affine or ())):
                if tensor is not None:
                    yield "parameter", tensor
    elif isinstance(operation, Values):
        for value in operation.values:
            yield "value", value


def check(state: Tensor, operations: Sequence[Operation]) -> None:
    """Raise a ValueError for operations that loops cannot evaluate on a state `(B, C, H, W)`: they would not notice."""
    for operation in operations:
        for kind, tensor in tensors_of(operation):
            if not is_plain(tensor):
                raise ValueError(f"The {kind} of an operation is no tensor in the memory of the CPU: {tensor!r}.")
            if tensor.dtype != state.dtype:
                raise ValueError(f"The {kind} of an operation is {tensor.dtype}, but the image is {state.dtype}.")
        for stage in operation.stages if isinstance(operation, Convolutions) else ():
            _check_stage(stage, state.shape[1])


def _check_stage(stage: Convolution, channels: int) -> None:
    kernels = DENSE_KERNELS if stage.depthwise is None else SEPARABLE_KERNELS
    if stage.kernel not in kernels:
        raise ValueError(f"The loops take kernels of sides {kernels}; got {stage.kernel}.")
    reads, outs = stage.mixing.shape[1], len(stage.mixing if stage.depthwise is None else stage.depthwise)
    if reads != channels or outs % channels:
        raise ValueError(f"A convolution of {reads} channels cannot read an image of {channels} channels.")


def with_tensors(operations: Sequence[Operation], tensors: Sequence[Tensor]) -> list[Operation]:
    """Return operations with other tensors, given one operation after another in the order of `tensors_of`."""
    given = iter(tensors)
    others: list[Operation] = []
    for operation in operations:
        weights = next(given)
        if isinstance(operation, Convolutions):
            stages = tuple(
                Convolution(
                    depthwise=None if stage.depthwise is None else next(given),
                    mixing=next(given),
                    norm=stage.norm,
                    dilation=stage.dilation,
                    affine=None if stage.affine is None else (next(given), next(given)),
                )
                for stage in operation.stages
            )
            others.append(Convolutions(weights, operation.receivers, operation.positions, stages))
        elif isinstance(operation, Values):
            others.append(Values(weights, operation.receivers, tuple(next(given) for _ in operation.values)))
        else:
            others.append(replace(operation, weights=weights))
    return others
