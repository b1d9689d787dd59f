"""The gradients of the operations that leave a state."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from archselect.kernels.cpu.evaluated import Evaluated
from archselect.kernels.cpu.native import FIELDS, addresses, at, empty
from archselect.kernels.cpu.operations import (
    Convolutions,
    Identities,
    Operation,
    Pools,
    Values,
    tensors_of,
    with_tensors,
)


class EdgeGradients:
    """Goes back from the nodes to the state.

    The gradient in a value that adds to nodes is `scales * gradient in the node + slopes * value + shifts` per channel:
    what the weight and the normalisation make of it. There is a scale for each term, a slope and a shift for each row
    of the statistics.

    Args:
        edges: What was evaluated.
        gradients: In the nodes, `(B, C, H', W')` in channels_last.
        needs_state: Whether the gradient in the state is wanted.
        needs: Of each tensor of the operations, whether its gradient is.

    Attributes:
        in_state: The gradient in the state, None if it is not wanted.
        in_operations: The operations with gradients in place of their tensors; not set where they are not wanted.
    """

    def __init__(self, edges: Evaluated, gradients: Sequence[Tensor], needs_state: bool, needs: Sequence[bool]) -> None:
        self.edges = edges
        self.gradients = gradients
        tensors = [(operation, *pair) for operation in edges.operations for pair in tensors_of(operation)]
        needed = {kind for (_, kind, _), need in zip(tensors, needs, strict=True) if need}
        self.needs_weights, self.needs_parameters = "weights" in needed, "parameter" in needed
        self.in_tensors = [
            self._room(operation, tensor) if kind == "weights" or kind in needed else tensor
            for operation, kind, tensor in tensors
        ]
        self.in_operations = with_tensors(edges.operations, self.in_tensors)
        self.in_state = empty(edges.state.shape, edges.state.dtype) if needs_state else None
        self._through_terms()
        if needs_state or self.needs_parameters:
            self._through_firsts(self._through_seconds())
        if self.in_state is not None:
            self._through_pools(self.in_state)
            self._through_identities(self.in_state)
        if "value" in needed:
            self._through_values()

    def _room(self, operation: Operation, tensor: Tensor) -> Tensor:
        """Return room for a gradient: zeros if it belongs to a stack of which some edges are left out."""
        whole = not isinstance(operation, Convolutions) or operation.fills(self.edges.channels)
        return torch.empty_like(tensor) if whole else torch.zeros_like(tensor)

    def _through_terms(self) -> None:
        """Compute the gradients in the mixture weights, and scales, slopes and shifts."""
        edges = self.edges
        terms = list(edges.terms())
        self._scales = edges.state.new_empty(len(terms), edges.channels)
        self._slopes, self._shifts = edges.state.new_zeros(2, edges.statistics.shape[1], edges.channels).unbind()
        rows: list[int] = []
        for index, term in enumerate(terms):
            in_operation = self.in_operations[term.operation]
            changed = isinstance(in_operation, Convolutions | Pools)  # not only weighted
            if not (changed or self.needs_weights):
                continue
            in_affine = (0, 0)
            if self.needs_parameters and isinstance(in_operation, Convolutions):
                in_affine = edges.affine(in_operation.stages[-1], in_operation.positions[term.edge])
            rows += [*term.row, self.gradients[term.receiver].data_ptr()]
            rows += [at(self._scales, index * edges.channels) if changed else 0]
            rows += (0, 0) if term.statistics is None else self._rest(term.statistics)
            rows += [at(in_operation.weights, term.edge), *in_affine]
        if rows:
            edges.native_loops.term_gradients(rows)

    def _rest(self, statistics: int) -> tuple[int, int]:
        """Return where slope and shift of a row of the statistics stand."""
        offset = statistics * self.edges.channels
        return at(self._slopes, offset), at(self._shifts, offset)

    def _of_node(self, index: int, statistics: int) -> list[int]:
        """Return the gradient in a convolution that adds to a node: that in the node, scale, slope and shift."""
        number, edge, _ = self.edges.convolutions[index]
        gradient = self.gradients[self.edges.operations[number].receivers[edge]]
        return [gradient.data_ptr(), at(self._scales, index * self.edges.channels), *self._rest(statistics)]

    def _in_weights(self, index: int, which: int) -> tuple[int, int]:
        """Return where the gradients in the weights of a stage belong, 0 if they are not wanted."""
        if not self.needs_parameters:
            return 0, 0
        stage = self.edges.stages_of(index, self.in_operations)[which]
        return self.edges.weights(stage, self.edges.convolutions[index].position)

    def _through_seconds(self) -> list[Tensor]:
        """Return, for each second stage, the gradient in what it reads: what the first gave, normalised."""
        edges = self.edges
        in_firsts = [edges.output() for _ in edges.seconds]
        if not in_firsts:
            return []
        sums, products = edges.state.new_empty(2, edges.double, edges.channels).unbind()
        rows: list[int] = []
        for index, in_first in enumerate(in_firsts):
            offset = index * edges.channels
            rows += edges.second(index) + self._of_node(index, len(edges.firsts) + index)
            rows += [in_first.data_ptr(), at(sums, offset), at(products, offset), *self._in_weights(index, 1)]
        edges.native_loops.convolutions_backward(rows, first=False)
        self._first_scales = edges.state.new_empty(edges.double, edges.channels)
        mean, rstd = (statistic[: edges.double] for statistic in edges.statistics)
        through = (self._first_scales, self._slopes, self._shifts)  # the rows of the firsts that have a second
        edges.native_loops.norm_gradients(edges.double, sums, products, mean, rstd, edges.first_affine, *through)
        if self.needs_parameters and edges.first_affine is not None:
            self._in_first_affine(products * rstd, sums)
        return in_firsts

    def _in_first_affine(self, in_scales: Tensor, in_shifts: Tensor) -> None:
        """Set the gradients in scale and shift of the normalisations between two stages."""
        for index in range(self.edges.double):
            in_affine = self.edges.stages_of(index, self.in_operations)[0].affine
            assert in_affine is not None
            for in_all, in_edges in zip(in_affine, (in_scales, in_shifts), strict=True):
                in_all.view(-1, self.edges.channels)[self.edges.convolutions[index].position] = in_edges[index]

    def _through_firsts(self, in_firsts: Sequence[Tensor]) -> None:
        """Set the gradient in the state, as far as it comes from convolutions, and those in their weights."""
        edges = self.edges
        rows: list[int] = []
        for index in range(len(edges.firsts)):
            rows += edges.first(index)
            if index < edges.double:
                scale = at(self._first_scales, index * edges.channels)
                rows += [in_firsts[index].data_ptr(), scale, *self._rest(index)]
            else:
                rows += self._of_node(index, index)
            rows += [0 if self.in_state is None else self.in_state.data_ptr(), 0, 0, *self._in_weights(index, 0)]
        if rows:
            edges.native_loops.convolutions_backward(rows, first=True)
        elif self.in_state is not None:
            self.in_state.zero_()

    def _through_pools(self, in_state: Tensor) -> None:
        """Add what comes through pools to the gradient in the state."""
        edges = self.edges
        term = len(edges.convolutions)
        for index, number in enumerate(edges.pools):
            pool = edges.operations[number]
            assert isinstance(pool, Pools)
            theirs = addresses([self.gradients[receiver].data_ptr() for receiver in pool.receivers])
            scales = addresses([at(self._scales, (term + i) * edges.channels) for i in range(len(pool.receivers))])
            rest = (0, 0) if pool.norm is None else self._rest(len(edges.firsts) + edges.double + index)
            row = [*edges.pool(index), len(theirs), ctypes.addressof(theirs), ctypes.addressof(scales), *rest]
            edges.native_loops.pool_backward([*row, in_state.data_ptr()])
            term += len(pool.receivers)

    def _through_identities(self, in_state: Tensor) -> None:
        """Add what comes through identities to the gradient in the state."""
        rows: list[int] = []
        for operation in self.edges.operations:
            if isinstance(operation, Identities):
                for edge in range(len(operation.receivers)):
                    rows += self._weighted(operation, edge)
        if rows:
            self.edges.native_loops.sum_terms(rows, in_state, add=True)

    def _through_values(self) -> None:
        """Set the gradients in what other operations gave."""
        for operation, in_operation in zip(self.edges.operations, self.in_operations, strict=True):
            if isinstance(operation, Values) and isinstance(in_operation, Values):
                for edge, in_value in enumerate(in_operation.values):
                    self.edges.native_loops.sum_terms(self._weighted(operation, edge), in_value, add=False)

    def _weighted(self, operation: Operation, edge: int) -> list[int]:
        """Return the gradient in a node times the weight of an edge, as a term."""
        row = [self.gradients[operation.receivers[edge]].data_ptr(), at(operation.weights, edge)]
        return [*row, *[0] * (FIELDS["term"] - len(row))]
