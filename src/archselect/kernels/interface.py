"""What kernels compute, said in plain data, and where they are turned on.

A network is plain PyTorch unless a caller turns them on, as the stages of a run and the benchmarks do. For which images
and modules they then take the place of PyTorch's operators, see `modules`.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

_enabled: ContextVar[bool] = ContextVar("loops", default=False)


@contextmanager
def enabled(wanted: bool = True) -> Iterator[None]:
    """Let supernets and discrete networks on a CPU run on the compiled loops, in this thread.

    The results are equal up to rounding, the gradients too, several times faster. The loops have no second derivatives.
    They leave to PyTorch what they do not compute exactly: modules with hooks, children that were replaced or changed.

    Example:
        with kernels.enabled():
            logits = supernet(images)
    """
    before = _enabled.set(wanted)
    try:
        yield
    finally:
        _enabled.reset(before)


def disabled() -> AbstractContextManager[None]:
    """Let PyTorch's operators do the work of these: they are slower, and can be differentiated twice."""
    return enabled(False)


def are_enabled() -> bool:
    """Return whether they are turned on here."""
    # In this order: while it compiles, Dynamo takes the first for a constant, and cannot read a ContextVar.
    return not torch.compiler.is_compiling() and _enabled.get()


@dataclass(frozen=True)
class Running:
    """Running statistics of a batch normalisation, `(C,)` each, moved in place."""

    mean: Tensor
    variance: Tensor


class NormMode(NamedTuple):
    """How batch normalisations treat a batch; in training they take its statistics, else the running ones."""

    training: bool
    momentum: float
    eps: float


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
class Operation:
    """One operation on several edges out of a state.

    Attributes:
        weights: The mixture weights `(E,)`.
        receivers: Which of the nodes each edge adds to.
    """

    weights: Tensor
    receivers: Sequence[int]


class Identities(Operation):
    """`skip_connect`."""


@dataclass(frozen=True)
class Pools(Operation):
    """3x3 pooling; with `norm`, followed by a batch normalisation that the edges share."""

    maximum: bool
    norm: Running | None


@dataclass(frozen=True)
class Convolutions(Operation):
    """One or two convolutions, one after the other, on each edge.

    Attributes:
        positions: Which of the stacked edges they are.
        stages: The first reads the state, the second what the first gave.
    """

    positions: Sequence[int]
    stages: tuple[Convolution, ...]


@dataclass(frozen=True)
class Values(Operation):
    """Any other operation, evaluated before: what it gave on each edge, `(B, C, H', W')`."""

    values: tuple[Tensor, ...]


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


def with_tensors(operations: Sequence[Operation], tensors: Sequence[Tensor]) -> list[Operation]:
    """Return operations with other tensors, given one operation after another in the order of `tensors_of`."""
    given = iter(tensors)

    def of_stage(stage: Convolution) -> Convolution:
        depthwise, mixing = None if stage.depthwise is None else next(given), next(given)
        affine = None if stage.affine is None else (next(given), next(given))
        return replace(stage, depthwise=depthwise, mixing=mixing, affine=affine)

    others: list[Operation] = []
    for operation in operations:
        other = replace(operation, weights=next(given))
        if isinstance(other, Convolutions):
            other = replace(other, stages=tuple(map(of_stage, other.stages)))
        elif isinstance(other, Values):
            other = replace(other, values=tuple(next(given) for _ in other.values))
        others.append(other)
    return others
