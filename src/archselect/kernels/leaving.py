"""What leaves a state of a cell, all edges in a few calls of compiled loops, and what arrives at a node.

A node is the sum of `weight * BN(operation(state))`. `leave` evaluates the operations out of one state as far as the
batch statistics; it returns one `Arrival` for each edge, which holds what the operations gave but not their weighted
and normalised sum. `arrive` makes the sum when all edges of a node are there, reading everything once.

The gradient in a node is the gradient in each of its edges. So what an edge gives autograd is a token: a tensor of the
size of the node that takes no memory, and only hands the gradient over. `leave` takes it from there by hand: through
weights and normalisations, which need two numbers per channel, and back through the convolutions.
"""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import at, channels_last, empty
from archselect.kernels.native.calls import Batch, Running, addresses, loops


@dataclass(frozen=True)
class Convolution:
    """ReLU, convolution, BN on all edges of a stack.

    Attributes:
        depthwise: `(edges * C, 1, k, k)`; None: the convolution is not separable.
        mixing: What follows it, `(edges * C, C, 1, 1)`, or the whole convolution, `(edges * C, C, k, k)` with stride and
            padding like the others'.
        norm: What the normalisation gathers.
        dilation: Of the depthwise taps.
    """

    depthwise: Tensor | None
    mixing: Tensor
    norm: Running
    dilation: int = 1

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


@dataclass(frozen=True)
class Values:
    """Any other operation, evaluated before: what it gave on each edge, `(B, C, H', W')`. See `Identities`."""

    weights: Tensor
    receivers: Sequence[int]
    values: tuple[Tensor, ...]


Operation = Identities | Pools | Convolutions | Values


@dataclass
class Arrival:
    """What arrives at a node from one state: summands, as the loops read them, and the token for autograd.

    Attributes:
        token: Of the node's size, without memory.
        rows: Per summand, addresses of what was computed, its weight, and mean and 1 / std of its normalisation or 0.
        holds: The tensors at these addresses.
    """

    token: Tensor
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)
    holds: list[Tensor] = field(default_factory=list)


def leave(state: Tensor, operations: Sequence[Operation], stride: int, arrivals: int, batch: Batch) -> list[Arrival]:
    """Evaluate operations on the edges that leave a state.

    Args:
        state: `(B, C, H, W)` in channels_last.
        operations: Those that have weight.
        stride: Of all of them; identities have stride 1.
        arrivals: Number of edges.
        batch: How to normalise.

    Returns:
        One arrival for each edge.
    """
    made: list[Arrival] = []
    tensors = [
        _as_read(tensor, kind)
        for operation in operations
        for tensor, kind in zip(_tensors(operation), _kinds(operation), strict=True)
    ]
    work = _Work([_bare(operation) for operation in operations], stride, arrivals, batch)
    tokens: tuple[Tensor, ...] = _Leave.apply(work, made, state, *tensors)
    return [replace(arrival, token=token) for arrival, token in zip(made, tokens, strict=True)]


def arrive(arrivals: Sequence[Arrival]) -> Tensor:
    """Return the sum of all that arrives at a node, `(B, C, H, W)` in channels_last."""
    rows = [row for arrival in arrivals for row in arrival.rows]
    out: Tensor = _Arrive.apply(rows, *(arrival.token for arrival in arrivals))
    return out


class _Arrive(Function):
    @staticmethod
    def forward(ctx: Any, rows: Sequence[tuple[int, int, int, int]], *tokens: Tensor) -> Tensor:
        out = empty(tokens[0].shape, tokens[0].dtype)
        terms = [number for row in rows for number in (*row, *_NO_GRADIENT[:5])]
        loops(out.shape, out.dtype, 1, _ANY).sum_terms(terms, out, add=False)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = channels_last(gradient)
        return None, *(gradient if need else None for need in ctx.needs_input_grad[1:])


@dataclass(frozen=True)
class _Work:
    """What `leave` was asked for, without the tensors that autograd looks after."""

    operations: Sequence[Operation]
    stride: int
    arrivals: int
    batch: Batch


_NOTHING = torch.empty(0)
_NO_GRADIENT = (0,) * 9  # fields of the loops' structures that only the backward pass reads
_ANY = Batch(training=True, momentum=0.0, eps=0.0)  # for loops that do not normalise


class _Leave(Function):
    @staticmethod
    def forward(ctx: Any, work: _Work, arrivals: list[Arrival], state: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = channels_last(state)
        edges = _Edges(state, tensors, work)
        edges.forward()
        tokens = tuple(state.new_empty(1).as_strided(edges.out_size, (0, 0, 0, 0)) for _ in range(work.arrivals))
        arrivals += (Arrival(token) for token in tokens)
        for term in edges.terms():
            arrivals[term.receiver].rows.append((term.value.data_ptr(), term.weight, term.mean, term.rstd))
            arrivals[term.receiver].holds.append(term.value)
        for arrival in arrivals:
            arrival.holds += (edges.statistics, *tensors)
        ctx.work, ctx.given = work, len(tensors)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(state, *tensors, *edges.computed())
        return tokens

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        state, *saved = ctx.saved_tensors
        edges = _Edges(state, saved[: ctx.given], ctx.work)
        edges.restore(saved[ctx.given :])
        needs_state, *needs = ctx.needs_input_grad[2:]
        in_state, in_tensors = edges.backward([channels_last(gradient) for gradient in gradients], needs_state, needs)
        return None, None, in_state, *(i if need else None for i, need in zip(in_tensors, needs, strict=True))


@dataclass(frozen=True)
class _Term:
    """A summand of a node.

    Attributes:
        receiver: Which arrival it belongs to.
        value: What was computed.
        weight: The address of its mixture weight; mean and rstd: of its statistics, or 0.
        statistics: Where these stand.
        operation: Number of its operation; edge: which of this operation's edges.
    """

    receiver: int
    value: Tensor
    weight: int
    mean: int
    rstd: int
    statistics: int
    operation: int
    edge: int


class _Edges:
    """The operations out of a state, what they gave, and its gradients.

    Convolutions are numbered edge by edge, those of two stages first; `firsts` and `seconds` are what their stages
    gave, `pooled` what the pools gave. The rows of `statistics` `(2, number, C)`, mean and 1 / std, belong to firsts,
    seconds and pools in this order.
    """

    def __init__(self, state: Tensor, tensors: Sequence[Tensor], work: _Work) -> None:
        self.state = state
        batch, self.channels, height, width = state.shape
        self.out_size = torch.Size((batch, self.channels, -(-height // work.stride), -(-width // work.stride)))
        self.tensors = tensors
        self.operations = _dressed(work.operations, tensors)
        self.loops = loops(state.shape, state.dtype, work.stride, work.batch)
        self.convolutions = [
            (number, edge, operation.positions[edge])
            for stages in (2, 1)
            for number, operation in enumerate(self.operations)
            if isinstance(operation, Convolutions) and len(operation.stages) == stages
            for edge in range(len(operation.positions))
        ]
        self.double = sum(len(self._convolution(number).stages) == 2 for number, _, _ in self.convolutions)
        self.pools = [number for number, operation in enumerate(self.operations) if isinstance(operation, Pools)]

    def _convolution(self, number: int) -> Convolutions:
        operation = self.operations[number]
        assert isinstance(operation, Convolutions)
        return operation

    def computed(self) -> tuple[Tensor, ...]:
        """Return what `restore` takes."""
        return self.statistics, *self.firsts, *self.seconds, *self.pooled

    def restore(self, computed: Sequence[Tensor]) -> None:
        """Take back what `forward` computed."""
        self.statistics, *outputs = computed
        ends = len(self.convolutions), len(self.convolutions) + self.double
        self.firsts, self.seconds, self.pooled = outputs[: ends[0]], outputs[ends[0] : ends[1]], outputs[ends[1] :]

    def forward(self) -> None:
        """Evaluate the operations up to their statistics."""
        number = len(self.convolutions) + self.double + len(self.pools)
        self.statistics = self.state.new_empty(2, number, self.channels)
        self.firsts = [self._output() for _ in self.convolutions]
        self.seconds = [self._output() for _ in range(self.double)]
        self.pooled = [self._output() for _ in self.pools]
        if self.firsts:
            rows = [number for row in map(self._first, range(len(self.firsts))) for number in (*row, *_NO_GRADIENT)]
            self.loops.convolutions_forward(rows, first=True)
        if self.seconds:
            rows = [number for row in map(self._second, range(self.double)) for number in (*row, *_NO_GRADIENT)]
            self.loops.convolutions_forward(rows, first=False)
        for index in range(len(self.pools)):
            self.loops.pool_forward([*self._pool(index), *_NO_GRADIENT[:6]])

    def _output(self) -> Tensor:
        return empty(self.out_size, self.state.dtype)

    def _first(self, index: int) -> list[int]:
        """Return a convolution's first stage as the loops read it."""
        return self._stage(index, 0, (self.state.data_ptr(), 0, 0), self.firsts[index], index)

    def _second(self, index: int) -> list[int]:
        x = (self.firsts[index].data_ptr(), *self._moments(index))
        return self._stage(index, 1, x, self.seconds[index], len(self.firsts) + index)

    def _stage(self, index: int, which: int, x: tuple[int, int, int], out: Tensor, statistics: int) -> list[int]:
        number, _, position = self.convolutions[index]
        stage = self._convolution(number).stages[which]
        running = (at(running, position * self.channels) for running in (stage.norm.mean, stage.norm.variance))
        weights = self._weights(stage, position)
        moments = self._moments(statistics)
        return [*x, stage.kernel, stage.dilation, *weights, out.data_ptr(), *moments, *running]

    def _weights(self, stage: Convolution, position: int) -> tuple[int, int]:
        """Return where the depthwise and the other weights of an edge stand."""
        first = position * self.channels
        depthwise = 0 if stage.depthwise is None else at(stage.depthwise, first * stage.kernel**2)
        return depthwise, at(stage.mixing, first * (stage.mixing.numel() // len(stage.mixing)))

    def _pool(self, index: int) -> list[int]:
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

    def terms(self) -> Iterator[_Term]:
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

    def _term(self, number: int, edge: int, value: Tensor, statistics: int | None) -> _Term:
        operation = self.operations[number]
        plain = statistics is None or (isinstance(operation, Pools) and operation.norm is None)
        moments = (0, 0) if plain else self._moments(statistics or 0)
        weight = at(operation.weights, edge)
        return _Term(operation.receivers[edge], value, weight, *moments, statistics or 0, number, edge)

    def backward(
        self, gradients: Sequence[Tensor], needs_state: bool, needs: Sequence[bool]
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return the gradient in the state and those in the tensors of the operations.

        What is not needed is not set.
        """
        kinds = [kind for operation in self.operations for kind in _kinds(operation)]
        needed = {kind for kind, need in zip(kinds, needs, strict=True) if need}
        needs_weights, needs_parameters = "weights" in needed, "parameter" in needed
        in_tensors = [
            torch.zeros_like(tensor) if kind == "weights" or kind in needed else tensor
            for tensor, kind in zip(self.tensors, kinds, strict=True)
        ]
        self._in_operations = _dressed(self.operations, in_tensors)
        self._through_terms(gradients, needs_weights)
        in_state = empty(self.state.shape, self.state.dtype) if needs_state else None
        if needs_state or needs_parameters:
            in_firsts = self._through_seconds(gradients, needs_parameters)
            self._through_firsts(gradients, in_firsts, needs_parameters, in_state)
        if in_state is not None:
            self._through_pools(gradients, in_state)
            self._through_identities(gradients, in_state)
        if "value" in needed:
            self._through_values(gradients)
        return in_state, in_tensors

    def _through_terms(self, gradients: Sequence[Tensor], needs_weights: bool) -> None:
        """Compute the gradients in the mixture weights, and the coefficients of those in the values.

        The gradient in a value is `scales * gradient in the node + slopes * value + shifts` per channel, with a scale
        for each term, a slope and a shift for each row of the statistics.
        """
        terms = list(self.terms())
        self._scales = self.state.new_empty(len(terms), self.channels)
        self._slopes, self._shifts = self.state.new_zeros(2, self.statistics.shape[1], self.channels).unbind()
        rows: list[int] = []
        for index, term in enumerate(terms):
            normalised = isinstance(self.operations[term.operation], Convolutions | Pools)
            if not (normalised or needs_weights):
                continue
            rest = self._rest(term.statistics) if term.mean else (0, 0)
            scale = at(self._scales, index * self.channels) if normalised else 0
            in_weight = at(self._in_operations[term.operation].weights, term.edge)
            rows += [term.value.data_ptr(), term.weight, term.mean, term.rstd, gradients[term.receiver].data_ptr()]
            rows += [scale, *rest, in_weight]
        if rows:
            self.loops.term_gradients(rows)

    def _rest(self, statistics: int) -> tuple[int, int]:
        offset = statistics * self.channels
        return at(self._slopes, offset), at(self._shifts, offset)

    def _of_node(self, index: int, statistics: int, gradients: Sequence[Tensor]) -> list[int]:
        """Return the gradient in a convolution that adds to a node: that in the node, scale, slope and shift."""
        number, edge, _ = self.convolutions[index]
        gradient = gradients[self.operations[number].receivers[edge]]
        return [gradient.data_ptr(), at(self._scales, index * self.channels), *self._rest(statistics)]

    def _in_weights(self, index: int, which: int, needed: bool) -> tuple[int, int]:
        """Return where the gradients in the weights of a stage belong."""
        if not needed:
            return 0, 0
        number, _, position = self.convolutions[index]
        operation = self._in_operations[number]
        assert isinstance(operation, Convolutions)
        return self._weights(operation.stages[which], position)

    def _through_seconds(self, gradients: Sequence[Tensor], needs_parameters: bool) -> list[Tensor]:
        """Return, for each second stage, the gradient in what it reads: what the first gave, normalised."""
        in_firsts = [self._output() for _ in self.seconds]
        if not in_firsts:
            return []
        sums, products = self.state.new_empty(2, self.double, self.channels).unbind()
        rows: list[int] = []
        for index, in_first in enumerate(in_firsts):
            offset = index * self.channels
            rows += self._second(index) + self._of_node(index, len(self.firsts) + index, gradients)
            rows += [in_first.data_ptr(), at(sums, offset), at(products, offset)]
            rows += self._in_weights(index, 1, needs_parameters)
        self.loops.convolutions_backward(rows, first=False)
        self._first_scales = self.state.new_empty(self.double, self.channels)
        mean, rstd = (statistic[: self.double] for statistic in self.statistics)
        through = (self._first_scales, self._slopes, self._shifts)  # the rows of the firsts that have a second
        self.loops.norm_gradients(self.double, sums, products, mean, rstd, *through)
        return in_firsts

    def _through_firsts(
        self, gradients: Sequence[Tensor], in_firsts: Sequence[Tensor], needs_parameters: bool, in_state: Tensor | None
    ) -> None:
        """Set the gradient in the state, as far as it comes from convolutions, and those in their weights."""
        rows: list[int] = []
        for index in range(len(self.firsts)):
            rows += self._first(index)
            if index < self.double:
                scale = at(self._first_scales, index * self.channels)
                rows += [in_firsts[index].data_ptr(), scale, *self._rest(index)]
            else:
                rows += self._of_node(index, index, gradients)
            rows += [0 if in_state is None else in_state.data_ptr(), 0, 0]
            rows += self._in_weights(index, 0, needs_parameters)
        if rows:
            self.loops.convolutions_backward(rows, first=True)
        elif in_state is not None:
            in_state.zero_()

    def _through_pools(self, gradients: Sequence[Tensor], in_state: Tensor) -> None:
        """Add what comes through pools to the gradient in the state."""
        scale = len(self.convolutions)
        for index, number in enumerate(self.pools):
            pool = self.operations[number]
            assert isinstance(pool, Pools)
            edges = range(len(pool.receivers))
            theirs = addresses([gradients[receiver].data_ptr() for receiver in pool.receivers])
            scales = addresses([at(self._scales, (scale + edge) * self.channels) for edge in edges])
            rest = (0, 0) if pool.norm is None else self._rest(len(self.firsts) + self.double + index)
            row = [*self._pool(index), len(edges), ctypes.addressof(theirs), ctypes.addressof(scales), *rest]
            self.loops.pool_backward([*row, in_state.data_ptr()])
            scale += len(edges)

    def _through_identities(self, gradients: Sequence[Tensor], in_state: Tensor) -> None:
        """Add what comes through identities to the gradient in the state."""
        rows: list[int] = []
        for operation in self.operations:
            if isinstance(operation, Identities):
                for edge, receiver in enumerate(operation.receivers):
                    rows += [gradients[receiver].data_ptr(), at(operation.weights, edge), *_NO_GRADIENT[:7]]
        if rows:
            self.loops.sum_terms(rows, in_state, add=True)

    def _through_values(self, gradients: Sequence[Tensor]) -> None:
        """Set the gradients in what other operations gave."""
        for operation, in_operation in zip(self.operations, self._in_operations, strict=True):
            if isinstance(operation, Values) and isinstance(in_operation, Values):
                for edge, (receiver, in_value) in enumerate(zip(operation.receivers, in_operation.values, strict=True)):
                    row = [gradients[receiver].data_ptr(), at(operation.weights, edge), *_NO_GRADIENT[:7]]
                    self.loops.sum_terms(row, in_value, add=False)


def _as_read(tensor: Tensor, kind: str) -> Tensor:
    """Return a tensor in the memory format that the loops read: images in channels_last."""
    return channels_last(tensor) if kind == "value" else tensor.contiguous()


def _tensors(operation: Operation) -> Iterator[Tensor]:
    """Yield the tensors of an operation that autograd looks after."""
    yield operation.weights
    if isinstance(operation, Convolutions):
        for stage in operation.stages:
            if stage.depthwise is not None:
                yield stage.depthwise
            yield stage.mixing
    elif isinstance(operation, Values):
        yield from operation.values


def _kinds(operation: Operation) -> list[str]:
    """Return what kind of tensor each of `_tensors` is."""
    rest = "parameter" if isinstance(operation, Convolutions) else "value"
    return ["weights", *(rest for _ in list(_tensors(operation))[1:])]


def _bare(operation: Operation) -> Operation:
    """Return an operation without these tensors."""
    (bare,) = _dressed([operation], [_NOTHING for _ in _tensors(operation)])
    return bare


def _dressed(operations: Sequence[Operation], tensors: Sequence[Tensor]) -> list[Operation]:
    """Return operations with other tensors, given in the order of `_tensors`."""
    given = iter(tensors)
    dressed: list[Operation] = []
    for operation in operations:
        weights = next(given)
        if isinstance(operation, Convolutions):
            stages = tuple(
                Convolution(None if stage.depthwise is None else next(given), next(given), stage.norm, stage.dilation)
                for stage in operation.stages
            )
            dressed.append(Convolutions(weights, operation.receivers, operation.positions, stages))
        elif isinstance(operation, Values):
            dressed.append(Values(weights, operation.receivers, tuple(next(given) for _ in operation.values)))
        else:
            dressed.append(replace(operation, weights=weights))
    return dressed
