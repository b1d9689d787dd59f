"""The operations out of a state of a cell, as the compiled loops take them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from archselect.kernels.cpu.native import Running

_PLAIN = (nn.Parameter, Tensor)

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

    def fills(self, channels: int) -> bool:
        """Return whether these are all stacked edges."""
        return len(self.positions) * channels == len(self.stages[0].mixing)


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
                replace(
                    stage,
                    depthwise=None if stage.depthwise is None else next(given),
                    mixing=next(given),
                    affine=None if stage.affine is None else (next(given), next(given)),
                )
                for stage in operation.stages
            )
            others.append(replace(operation, weights=weights, stages=stages))
        elif isinstance(operation, Values):
            others.append(replace(operation, weights=weights, values=tuple(next(given) for _ in operation.values)))
        else:
            others.append(replace(operation, weights=weights))
    return others


def is_plain(x: Tensor | None) -> bool:
    """Return whether `x` is memory of numbers on the CPU: no subclass, such as a fake tensor, and no lazy negation."""
    return x is None or (type(x) in _PLAIN and x.is_cpu and not x.is_neg())
