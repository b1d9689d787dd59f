"""The operations that leave a state, evaluated up to the statistics of their normalisations."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from archselect.kernels.cpu.native import ConvolutionArgs, PoolArgs, TermArgs, address, empty, native_loops
from archselect.kernels.interface import (
    Convolution,
    Convolutions,
    Identities,
    NormMode,
    Operation,
    Pools,
    Running,
    Values,
)


class EdgeConvolution(NamedTuple):
    """A convolution of one edge: number of the operation, which of its edges, where its channels in the stack begin."""

    operation: int
    edge: int
    start: int
    stages: tuple[Convolution, ...]


class Term(NamedTuple):
    """A summand of a node: number of the operation, which of its edges, what was computed, row of its statistics."""

    operation: int
    edge: int
    value: Tensor
    row: int | None


class Evaluated:
    """Operations on the edges out of a state, and what they gave.

    Everything that is computed has a row: the first stages of all convolutions, the second stages, the pools.

    Attributes:
        convolutions: Edge by edge, those of two stages first.
        double: How many of them have two stages.
        pools: The operations that are pools, with their numbers and rows.
        outputs: What was computed, a tensor `(B, C, H', W')` for each row.
        rows: How many there are.
        statistics: `(2 * rows, C)`, the means of the outputs, then 1 / std.
    """

    outputs: Sequence[Tensor]
    statistics: Tensor

    def __init__(self, state: Tensor, operations: Sequence[Operation], stride: int, batch: NormMode) -> None:
        self.state, self.operations = state, operations
        self.loops = native_loops(state.shape, state.dtype, stride, batch)
        images, self.channels, height, width = state.shape
        self.out_size = torch.Size((images, self.channels, -(-height // stride), -(-width // stride)))
        self.convolutions = [
            EdgeConvolution(number, edge, position * self.channels, operation.stages)
            for stages in (2, 1)
            for number, operation in enumerate(operations)
            if isinstance(operation, Convolutions) and len(operation.stages) == stages
            for edge, position in enumerate(operation.positions)
        ]
        self.double = sum(len(convolution.stages) == 2 for convolution in self.convolutions)
        pools = [(number, operation) for number, operation in enumerate(operations) if isinstance(operation, Pools)]
        first = len(self.convolutions) + self.double
        self.pools = [(number, pool, first + index) for index, (number, pool) in enumerate(pools)]
        self.rows = first + len(pools)

    def evaluate(self) -> None:
        """Set outputs and statistics, and move the running statistics."""
        self.statistics = self.state.new_empty(2 * self.rows, self.channels)
        self.outputs = [self.output() for _ in range(self.rows)]
        if self.convolutions or any(pool.norm for _, pool, _ in self.pools):
            self.loops.check_batch()
        firsts = [self.first(index) for index in range(len(self.convolutions))]
        self.loops.call("convolutions_forward", self.loops.inputs, firsts)
        self.loops.call("convolutions_forward", self.loops.outputs, [self.second(i) for i in range(self.double)])
        self.loops.call("pool_forward", self.loops.inputs, [self.pool(pool, row) for _, pool, row in self.pools])

    def output(self) -> Tensor:
        """Return uninitialised images of the size of the outputs."""
        return empty(self.out_size, self.state.dtype)

    def last_row(self, index: int) -> int:
        """Return the row of the last stage of a convolution."""
        return len(self.convolutions) + index if index < self.double else index

    def first(self, index: int, **gradients: Any) -> ConvolutionArgs:
        """Return a convolution's first stage as the loops read it, with what they are to know of its gradients."""
        _, _, start, stages = self.convolutions[index]
        return ConvolutionArgs(x=address(self.state), **self._stage(stages[0], start, index), **gradients)

    def second(self, index: int, **gradients: Any) -> ConvolutionArgs:
        """Return a convolution's second stage, as `first`: it reads the first's output, normalised."""
        _, _, start, (first, second) = self.convolutions[index]
        moments = self.moments(index)
        reads = {"x": address(self.outputs[index]), "x_mean": moments["mean"], "x_scale": moments["rstd"]}
        if first.affine is not None:
            reads |= {"x_scale": address(self._factors, index), "x_shift": address(first.affine[1], start)}
        return ConvolutionArgs(**reads, **self._stage(second, start, len(self.convolutions) + index), **gradients)

    def _stage(self, stage: Convolution, start: int, row: int) -> dict[str, Any]:
        taps = {"kernel": stage.kernel, "dilation": stage.dilation, "z": address(self.outputs[row])}
        weights = {"depthwise": address(stage.depthwise, start), "mixing": address(stage.mixing, start)}
        return taps | weights | self.moments(row) | _running(stage.norm, start)

    @cached_property
    def _factors(self) -> Tensor:
        """`(double, C)`: what the normalisations between two stages multiply by, scale / std."""
        factors = self.statistics[self.rows : self.rows + self.double].clone()
        for factor, (_, _, start, (first, _)) in zip(factors, self.convolutions, strict=False):
            if first.affine is not None:
                factor *= first.affine[0][start : start + self.channels]
        return factors

    def moments(self, row: int) -> dict[str, Any]:
        """Return where mean and 1 / std of a row stand."""
        return {"mean": address(self.statistics, row), "rstd": address(self.statistics, self.rows + row)}

    def pool(self, pool: Pools, row: int, **gradients: Any) -> PoolArgs:
        """Return a pool as the loops read it, with what they are to know of its gradients."""
        norm = {} if pool.norm is None else self.moments(row) | _running(pool.norm)
        return PoolArgs(
            maximum=pool.maximum, x=address(self.state), out=address(self.outputs[row]), **norm, **gradients
        )

    def terms(self) -> Iterator[Term]:
        """Yield the summands of the nodes: convolutions in their order, then pools, then the others."""
        for index, (number, edge, _, _) in enumerate(self.convolutions):
            row = self.last_row(index)
            yield Term(number, edge, self.outputs[row], row)
        for number, pool, row in self.pools:
            for edge in range(len(pool.receivers)):
                yield Term(number, edge, self.outputs[row], None if pool.norm is None else row)
        for number, operation in enumerate(self.operations):
            if isinstance(operation, Identities | Values):
                for edge in range(len(operation.receivers)):
                    value = self.state if isinstance(operation, Identities) else operation.values[edge]
                    yield Term(number, edge, value, None)

    def term(self, term: Term, **gradients: Any) -> TermArgs:
        """Return a summand as the loops read it, with what they are to know of its gradients."""
        operation, affine = self.operations[term.operation], {}
        if isinstance(operation, Convolutions) and (parameters := operation.stages[-1].affine) is not None:
            start = operation.positions[term.edge] * self.channels
            affine = {name: address(of, start) for name, of in zip(("gamma", "beta"), parameters, strict=True)}
        moments = {} if term.row is None else self.moments(term.row)
        weight = address(operation.weights, term.edge)
        return TermArgs(x=address(term.value), weight=weight, **moments, **affine, **gradients)


def _running(norm: Running, start: int = 0) -> dict[str, Any]:
    return {"running_mean": address(norm.mean, start), "running_variance": address(norm.variance, start)}
