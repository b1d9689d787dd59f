"""The operations that leave a state, evaluated up to the statistics of their normalisations."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from archselect.kernels.cpu.native import FIELDS, NormMode, at, empty, native_loops
from archselect.kernels.cpu.operations import Convolution, Convolutions, Identities, Operation, Pools, Values


class OnEdge(NamedTuple):
    """A convolution of one edge: number of the operation, which of its edges, and where that stands in the stack."""

    operation: int
    edge: int
    position: int


@dataclass(frozen=True)
class Term:
    """A summand of a node.

    Attributes:
        receiver: Which arrival it belongs to.
        value: What was computed.
        row: Addresses of the value, its weight, and mean, 1 / std, scale and shift of its normalisation, or 0.
        statistics: Where its statistics stand, None without normalisation.
        operation: Number of its operation.
        edge: Which of this operation's edges.
    """

    receiver: int
    value: Tensor
    row: list[int]
    statistics: int | None
    operation: int
    edge: int


class Evaluated:
    """Operations on the edges out of a state, and what they gave.

    Args:
        state: `(B, C, H, W)` in channels_last.
        operations: That leave it.
        stride: Of all operations.
        batch: How to normalise.

    Attributes:
        convolutions: Edge by edge, those of two stages first.
        double: How many of them have two stages.
        pools: Numbers of the operations that are pools.
        firsts: What the first stages gave.
        seconds: What the second stages gave.
        pooled: What the pools gave.
        statistics: `(2, number, C)`, mean and 1 / std of firsts, seconds and pooled, in this order.
    """

    firsts: list[Tensor]
    seconds: list[Tensor]
    pooled: list[Tensor]
    statistics: Tensor

    def __init__(self, state: Tensor, operations: Sequence[Operation], stride: int, batch: NormMode) -> None:
        self.state = state
        images, self.channels, height, width = state.shape
        self.out_size = torch.Size((images, self.channels, -(-height // stride), -(-width // stride)))
        self.operations = operations
        self.native_loops = native_loops(state.shape, state.dtype, stride, batch)
        self.convolutions = [
            OnEdge(number, edge, operation.positions[edge])
            for stages in (2, 1)
            for number, operation in enumerate(operations)
            if isinstance(operation, Convolutions) and len(operation.stages) == stages
            for edge in range(len(operation.positions))
        ]
        self.double = sum(len(self.stages_of(index)) == 2 for index in range(len(self.convolutions)))
        self.pools = [number for number, operation in enumerate(operations) if isinstance(operation, Pools)]

    def stages_of(self, index: int, operations: Sequence[Operation] | None = None) -> tuple[Convolution, ...]:
        """Return the stages of a convolution, or what stands for them in other operations, its gradients."""
        operation = (operations or self.operations)[self.convolutions[index].operation]
        assert isinstance(operation, Convolutions)
        return operation.stages

    def computed(self) -> tuple[Tensor, ...]:
        """Return what `restore` takes."""
        return self.statistics, *self.firsts, *self.seconds, *self.pooled

    def restore(self, computed: Sequence[Tensor]) -> None:
        """Take back what `evaluate` computed."""
        self.statistics, *outputs = computed
        ends = len(self.convolutions), len(self.convolutions) + self.double
        self.firsts, self.seconds, self.pooled = outputs[: ends[0]], outputs[ends[0] : ends[1]], outputs[ends[1] :]

    def evaluate(self) -> None:
        """Evaluate the operations."""
        number = len(self.convolutions) + self.double + len(self.pools)
        self.statistics = self.state.new_empty(2, number, self.channels)
        self.firsts = [self.output() for _ in self.convolutions]
        self.seconds = [self.output() for _ in range(self.double)]
        self.pooled = [self.output() for _ in self.pools]
        if self.firsts:
            self.native_loops.convolutions_forward(
                _without_gradients(map(self.first, range(len(self.firsts)))), first=True
            )
        if self.seconds:
            self.native_loops.convolutions_forward(
                _without_gradients(map(self.second, range(self.double))), first=False
            )
        for index in range(len(self.pools)):
            row = self.pool(index)
            self.native_loops.pool_forward([*row, *[0] * (FIELDS["pooling"] - len(row))])

    def output(self) -> Tensor:
        """Return uninitialised images of the size of the outputs."""
        return empty(self.out_size, self.state.dtype)

    def first(self, index: int) -> list[int]:
        """Return a convolution's first stage as the loops read it."""
        return self._stage(index, 0, (self.state.data_ptr(), 0, 0, 0), self.firsts[index], index)

    def second(self, index: int) -> list[int]:
        """Return a convolution's second stage as the loops read it."""
        mean, scale = self._moments(index)
        affine, shift = self.affine(self.stages_of(index)[0], self.convolutions[index].position)
        if affine:
            scale = at(self._first_factors, index * self.channels)
        x = (self.firsts[index].data_ptr(), mean, scale, shift)
        return self._stage(index, 1, x, self.seconds[index], len(self.firsts) + index)

    @cached_property
    def first_affine(self) -> Tensor | None:
        """The scales `(double, C)` of the normalisations between two stages; None if there are none."""
        scales = []
        for index in range(self.double):
            affine = self.stages_of(index)[0].affine
            if affine is not None:
                scales.append(affine[0].view(-1, self.channels)[self.convolutions[index].position])
        if not scales:
            return None
        assert len(scales) == self.double, "some normalisations are affine and some are not"
        return torch.stack(scales)

    @cached_property
    def _first_factors(self) -> Tensor:
        """What the normalisations between two stages multiply by."""
        assert self.first_affine is not None
        return self.first_affine * self.statistics[1, : self.double]

    def _stage(self, index: int, which: int, x: tuple[int, int, int, int], out: Tensor, statistics: int) -> list[int]:
        stage, position = self.stages_of(index)[which], self.convolutions[index].position
        running = (at(running, position * self.channels) for running in (stage.norm.mean, stage.norm.variance))
        weights = self.weights(stage, position)
        moments = self._moments(statistics)
        return [*x, stage.kernel, stage.dilation, *weights, out.data_ptr(), *moments, *running]

    def weights(self, stage: Convolution, position: int) -> tuple[int, int]:
        """Return where the depthwise and the other weights of an edge stand."""
        first = position * self.channels
        depthwise = 0 if stage.depthwise is None else at(stage.depthwise, first * stage.kernel**2)
        return depthwise, at(stage.mixing, first * (stage.mixing.numel() // len(stage.mixing)))

    def pool(self, index: int) -> list[int]:
        """Return a pool as the loops read it."""
        pool = self.operations[self.pools[index]]
        assert isinstance(pool, Pools)
        row = [int(pool.maximum), self.state.data_ptr(), self.pooled[index].data_ptr()]
        if pool.norm is None:
            return [*row, 0, 0, 0, 0]
        moments = self._moments(len(self.firsts) + self.double + index)
        return [*row, *moments, pool.norm.mean.data_ptr(), pool.norm.variance.data_ptr()]

    def _moments(self, index: int) -> tuple[int, int]:
        """Return where mean and 1 / std of a row of the statistics stand."""
        number = self.statistics.shape[1]
        return at(self.statistics, index * self.channels), at(self.statistics, (number + index) * self.channels)

    def terms(self) -> Iterator[Term]:
        """Yield the summands of the nodes: convolutions in their order, then pools, then the others."""
        for index, (number, edge, _) in enumerate(self.convolutions):
            value = self.seconds[index] if index < self.double else self.firsts[index]
            statistics = len(self.firsts) + index if index < self.double else index
            yield self._term(number, edge, value, statistics)
        for index, number in enumerate(self.pools):
            statistics = len(self.firsts) + self.double + index
            for edge in range(len(self.operations[number].receivers)):
                yield self._term(number, edge, self.pooled[index], statistics)
        for number, operation in enumerate(self.operations):
            if isinstance(operation, Identities | Values):
                for edge in range(len(operation.receivers)):
                    value = self.state if isinstance(operation, Identities) else operation.values[edge]
                    yield self._term(number, edge, value, None)

    def _term(self, number: int, edge: int, value: Tensor, statistics: int | None) -> Term:
        operation = self.operations[number]
        if isinstance(operation, Pools) and operation.norm is None:
            statistics = None
        row = [value.data_ptr(), at(operation.weights, edge)]
        row += (0, 0) if statistics is None else self._moments(statistics)
        affine = (0, 0)
        if isinstance(operation, Convolutions):
            affine = self.affine(operation.stages[-1], operation.positions[edge])
        row += affine
        return Term(operation.receivers[edge], value, row, statistics, number, edge)

    def affine(self, stage: Convolution, position: int) -> tuple[int, int]:
        """Return where scale and shift of an edge's normalisation stand, or 0."""
        if stage.affine is None:
            return 0, 0
        scale, shift = stage.affine
        return at(scale, position * self.channels), at(shift, position * self.channels)


def _without_gradients(rows: Iterable[list[int]]) -> list[int]:
    """Return rows of convolutions one after another, with nothing in the fields that the backward pass reads."""
    return [number for row in rows for number in (*row, *[0] * (FIELDS["convolution"] - len(row)))]
