"""The operations that leave a state, evaluated up to the statistics of their normalisations."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from archselect.kernels.cpu.native import ConvolutionArgs, NormMode, PoolArgs, TermArgs, address, empty, native_loops
from archselect.kernels.cpu.operations import Convolution, Convolutions, Identities, Operation, Pools, Values


class EdgeConvolution(NamedTuple):
    """A convolution of one edge: number of the operation, which of its edges, its place in the stack, its stages."""

    operation: int
    edge: int
    position: int
    stages: tuple[Convolution, ...]


class Term(NamedTuple):
    """A summand of a node.

    Attributes:
        receiver: Which node it belongs to.
        value: What was computed.
        args: Its value, its weight and its normalisation.
        row: Of its statistics, None without normalisation.
        operation: Number of its operation.
        edge: Which of this operation's edges.
    """

    receiver: int
    value: Tensor
    args: TermArgs
    row: int | None
    operation: int
    edge: int


class Evaluated:
    """Operations on the edges out of a state, and what they gave.

    Everything that is computed has a row: the first stages of all convolutions, the second stages, the pools.

    Args:
        state: `(B, C, H, W)` in channels_last.
        operations: That leave it.
        stride: Of all operations.
        batch: How to normalise.

    Attributes:
        convolutions: Edge by edge, those of two stages first.
        double: How many of them have two stages.
        pools: The operations that are pools, by their numbers.
        outputs: What was computed, a tensor `(B, C, H', W')` for each row.
        statistics: `(2, rows, C)`, mean and 1 / std of the outputs.
    """

    outputs: Sequence[Tensor]
    statistics: Tensor

    def __init__(self, state: Tensor, operations: Sequence[Operation], stride: int, batch: NormMode) -> None:
        self.state, self.operations = state, operations
        self.native_loops = native_loops(state.shape, state.dtype, stride, batch)
        images, self.channels, height, width = state.shape
        self.out_size = torch.Size((images, self.channels, -(-height // stride), -(-width // stride)))
        self.convolutions = [
            EdgeConvolution(number, edge, position, operation.stages)
            for stages in (2, 1)
            for number, operation in enumerate(operations)
            if isinstance(operation, Convolutions) and len(operation.stages) == stages
            for edge, position in enumerate(operation.positions)
        ]
        self.double = sum(len(convolution.stages) == 2 for convolution in self.convolutions)
        self.pools = {number: operation for number, operation in enumerate(operations) if isinstance(operation, Pools)}

    def evaluate(self) -> None:
        """Set outputs and statistics, and move the running statistics."""
        rows = self.pool_row(len(self.pools))
        self.statistics = self.state.new_empty(2, rows, self.channels)
        self.outputs = [self.output() for _ in range(rows)]
        loops = self.native_loops
        loops.convolutions_forward([self.first(index) for index in range(len(self.convolutions))], first=True)
        loops.convolutions_forward([self.second(index) for index in range(self.double)], first=False)
        loops.pool_forward([self.pool(index, pool) for index, pool in enumerate(self.pools.values())])

    def output(self) -> Tensor:
        """Return uninitialised images of the size of the outputs."""
        return empty(self.out_size, self.state.dtype)

    def last_row(self, index: int) -> int:
        """Return the row of the last stage of a convolution."""
        return len(self.convolutions) + index if index < self.double else index

    def pool_row(self, index: int) -> int:
        """Return the row of a pool."""
        return len(self.convolutions) + self.double + index

    def first(self, index: int) -> ConvolutionArgs:
        """Return a convolution's first stage as the loops read it."""
        args = self._stage(self.convolutions[index].stages[0], self.convolutions[index].position, index)
        args.x = self.state.data_ptr()
        return args

    def second(self, index: int) -> ConvolutionArgs:
        """Return a convolution's second stage as the loops read it: it reads the first's output, normalised."""
        _, _, position, (first, second) = self.convolutions[index]
        args = self._stage(second, position, len(self.convolutions) + index)
        args.x = self.outputs[index].data_ptr()
        args.x_mean, args.x_scale = self.moments(index)
        if first.affine is not None:
            args.x_scale = address(self._factors, index * self.channels)
            _, args.x_shift = self.affine(first, position)
        return args

    def _stage(self, stage: Convolution, position: int, row: int) -> ConvolutionArgs:
        depthwise, mixing = self.weights(stage, position)
        mean, rstd = self.moments(row)
        return ConvolutionArgs(
            kernel=stage.kernel,
            dilation=stage.dilation,
            depthwise=depthwise,
            mixing=mixing,
            z=self.outputs[row].data_ptr(),
            mean=mean,
            rstd=rstd,
            running_mean=address(stage.norm.mean, position * self.channels),
            running_variance=address(stage.norm.variance, position * self.channels),
        )

    @cached_property
    def _factors(self) -> Tensor:
        """`(double, C)`: what the normalisations between two stages multiply by, scale / std."""
        factors = self.statistics[1, : self.double].clone()
        for factor, (_, _, position, (first, _)) in zip(factors, self.convolutions, strict=False):
            if first.affine is not None:
                factor *= first.affine[0].view(-1, self.channels)[position]
        return factors

    def weights(self, stage: Convolution, position: int) -> tuple[int, int]:
        """Return where the depthwise and the other weights of an edge stand."""
        first = position * self.channels
        depthwise = 0 if stage.depthwise is None else address(stage.depthwise, first * stage.kernel**2)
        return depthwise, address(stage.mixing, first * (stage.mixing.numel() // len(stage.mixing)))

    def affine(self, stage: Convolution, position: int) -> tuple[int, int]:
        """Return where scale and shift of an edge's normalisation stand, or 0."""
        if stage.affine is None:
            return 0, 0
        scale, shift = stage.affine
        return address(scale, position * self.channels), address(shift, position * self.channels)

    def moments(self, row: int) -> tuple[int, int]:
        """Return where mean and 1 / std of a row stand."""
        rows = self.statistics.shape[1]
        return address(self.statistics, row * self.channels), address(self.statistics, (rows + row) * self.channels)

    def pool(self, index: int, pool: Pools) -> PoolArgs:
        """Return a pool as the loops read it."""
        row = self.pool_row(index)
        args = PoolArgs(maximum=pool.maximum, x=self.state.data_ptr(), out=self.outputs[row].data_ptr())
        if pool.norm is not None:
            args.mean, args.rstd = self.moments(row)
            args.running_mean, args.running_variance = pool.norm.mean.data_ptr(), pool.norm.variance.data_ptr()
        return args

    def terms(self) -> Iterator[Term]:
        """Yield the summands of the nodes: convolutions in their order, then pools, then the others."""
        for index, (number, edge, _, _) in enumerate(self.convolutions):
            row = self.last_row(index)
            yield self._term(number, edge, self.outputs[row], row)
        for index, (number, pool) in enumerate(self.pools.items()):
            row = self.pool_row(index)
            for edge in range(len(pool.receivers)):
                yield self._term(number, edge, self.outputs[row], None if pool.norm is None else row)
        for number, operation in enumerate(self.operations):
            if isinstance(operation, Identities | Values):
                for edge in range(len(operation.receivers)):
                    value = self.state if isinstance(operation, Identities) else operation.values[edge]
                    yield self._term(number, edge, value, None)

    def _term(self, number: int, edge: int, value: Tensor, row: int | None) -> Term:
        operation = self.operations[number]
        args = TermArgs(x=value.data_ptr(), weight=address(operation.weights, edge))
        if row is not None:
            args.mean, args.rstd = self.moments(row)
        if isinstance(operation, Convolutions):
            args.gamma, args.beta = self.affine(operation.stages[-1], operation.positions[edge])
        return Term(operation.receivers[edge], value, args, row, number, edge)
