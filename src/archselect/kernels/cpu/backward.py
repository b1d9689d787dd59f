"""The gradients of the operations that leave a state, written by hand."""

from collections.abc import Sequence
from ctypes import c_void_p
from typing import Any, cast

import torch
from torch import Tensor

from archselect.kernels.cpu.evaluated import Evaluated
from archselect.kernels.cpu.native import NormArgs, TermArgs, address, empty
from archselect.kernels.interface import (
    Convolution,
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
        in_tensors: The gradients in the tensors of the operations; not set where they are not wanted.
    """

    def __init__(self, edges: Evaluated, gradients: Sequence[Tensor], needs_state: bool, needs: Sequence[bool]) -> None:
        self.edges, self.gradients = edges, gradients
        tensors = [(operation, *pair) for operation in edges.operations for pair in tensors_of(operation)]
        needed = {kind for (_, kind, _), need in zip(tensors, needs, strict=True) if need}
        self.needs_weights, self.needs_parameters = "weights" in needed, "parameter" in needed
        self.in_tensors = [
            self._empty_gradient(operation, tensor) if kind == "weights" or kind in needed else tensor
            for operation, kind, tensor in tensors
        ]
        self._in_operations = with_tensors(edges.operations, self.in_tensors)
        self.in_state = empty(edges.state.shape, edges.state.dtype) if needs_state else None
        self._through_terms()
        if needs_state or self.needs_parameters:
            self._through_firsts(self._through_seconds())
        if self.in_state is not None:
            self._through_pools(self.in_state)
            self._through_identities(self.in_state)
        if "value" in needed:
            self._through_values()

    def _empty_gradient(self, operation: Operation, tensor: Tensor) -> Tensor:
        """Return room for a gradient: zeros if it belongs to a stack of which some edges are left out."""
        some = isinstance(operation, Convolutions) and (
            len(operation.positions) * self.edges.channels != len(operation.stages[0].mixing)
        )
        return torch.zeros_like(tensor) if some else torch.empty_like(tensor)

    def _in_stage(self, index: int, which: int) -> Convolution:
        """Return the gradients in the parameters of a stage."""
        return cast(Convolutions, self._in_operations[self.edges.convolutions[index].operation]).stages[which]

    def _through_terms(self) -> None:
        """Compute the gradients in the mixture weights, and scales, slopes and shifts."""
        edges, terms = self.edges, list(self.edges.terms())
        self._scales = edges.state.new_empty(len(terms), edges.channels)
        self._slopes, self._shifts = edges.state.new_zeros(2, edges.rows, edges.channels).unbind()
        wanted: list[TermArgs] = []
        for index, term in enumerate(terms):
            in_operation = self._in_operations[term.operation]
            changed = isinstance(in_operation, Convolutions | Pools)  # not only weighted
            if not (changed or self.needs_weights):
                continue
            found: dict[str, Any] = {"in_weight": address(in_operation.weights, term.edge)}
            if changed:
                found["a"] = address(self._scales, index)
            if term.row is not None:
                found |= self._slope_and_shift(term.row)
            if self.needs_parameters and index < len(edges.convolutions):
                in_scale, in_shift = self._in_stage(index, -1).affine or (None, None)
                start = edges.convolutions[index].start
                found |= {"in_gamma": address(in_scale, start), "in_beta": address(in_shift, start)}
            wanted.append(edges.term(term, gradient=self._in_node(term.operation, term.edge), **found))
        edges.loops.call("term_gradients", edges.loops.outputs, wanted)

    def _in_node(self, operation: int, edge: int) -> int | None:
        """Return where the gradient in the node that an edge leads to stands."""
        return address(self.gradients[self.edges.operations[operation].receivers[edge]])

    def _slope_and_shift(self, row: int) -> dict[str, Any]:
        """Return where slope and shift of a row of the statistics stand."""
        return {"b": address(self._slopes, row), "c": address(self._shifts, row)}

    def _last_stage(self, index: int) -> dict[str, Any]:
        """Return the gradient in a convolution that adds to a node: that in the node, scale, slope and shift."""
        number, edge, _, _ = self.edges.convolutions[index]
        scaled = {"gradient": self._in_node(number, edge), "a": address(self._scales, index)}
        return scaled | self._slope_and_shift(self.edges.last_row(index))

    def _in_weights(self, index: int, which: int) -> dict[str, Any]:
        """Return where the gradients in the weights of a stage belong, if they are wanted."""
        if not self.needs_parameters:
            return {}
        stage, start = self._in_stage(index, which), self.edges.convolutions[index].start
        return {"in_depthwise": address(stage.depthwise, start), "in_mixing": address(stage.mixing, start)}

    def _through_seconds(self) -> list[Tensor]:
        """Return, for each second stage, the gradient in what it reads: what the first gave, normalised."""
        edges = self.edges
        in_firsts = [edges.output() for _ in range(edges.double)]
        self._first_scales, sums, products = edges.state.new_empty(3, edges.double, edges.channels).unbind()
        seconds, norms = [], []
        for index, in_first in enumerate(in_firsts):
            in_sum, in_product = address(sums, index), address(products, index)
            found = {"in_x": address(in_first), "in_sum": in_sum, "in_product": in_product}
            seconds.append(edges.second(index, **found, **self._last_stage(index), **self._in_weights(index, 1)))
            _, _, start, (first, _) = edges.convolutions[index]
            gamma = None if first.affine is None else address(first.affine[0], start)
            coefficients = {"a": address(self._first_scales, index)} | self._slope_and_shift(index)
            norms.append(NormArgs(sum=in_sum, product=in_product, gamma=gamma, **edges.moments(index), **coefficients))
        edges.loops.call("convolutions_backward", edges.loops.outputs, seconds)
        edges.loops.call("norm_gradients", edges.loops.outputs, norms)
        if self.needs_parameters:
            self._set_in_first_affine(sums, products)
        return in_firsts

    def _set_in_first_affine(self, sums: Tensor, products: Tensor) -> None:
        """Set the gradients in scale and shift of the normalisations between two stages, if there are any."""
        rstd = self.edges.statistics[self.edges.rows :]
        for index, (_, _, start, _) in enumerate(self.edges.convolutions[: self.edges.double]):
            if (in_affine := self._in_stage(index, 0).affine) is not None:
                in_scale, in_shift = (parameter[start : start + self.edges.channels] for parameter in in_affine)
                torch.mul(products[index], rstd[index], out=in_scale)
                in_shift.copy_(sums[index])

    def _through_firsts(self, in_firsts: Sequence[Tensor]) -> None:
        """Set the gradient in the state, as far as it comes from convolutions, and those in their weights."""
        edges, firsts = self.edges, []
        for index in range(len(edges.convolutions)):
            if index < edges.double:
                found = {"gradient": address(in_firsts[index]), "a": address(self._first_scales, index)}
                found |= self._slope_and_shift(index)
            else:
                found = self._last_stage(index)
            firsts.append(edges.first(index, in_x=address(self.in_state), **found, **self._in_weights(index, 0)))
        edges.loops.call("convolutions_backward", edges.loops.inputs, firsts)
        if not firsts and self.in_state is not None:
            self.in_state.zero_()

    def _through_pools(self, in_state: Tensor) -> None:
        """Add what comes through pools to the gradient in the state."""
        edges, pools = self.edges, []
        term = len(edges.convolutions)
        for number, pool, row in edges.pools:
            count = len(pool.receivers)
            gradients = (c_void_p * count)(*(self._in_node(number, edge) for edge in range(count)))
            scales = (c_void_p * count)(*(address(self._scales, term + edge) for edge in range(count)))
            found = {"count": count, "gradients": gradients, "a": scales, "in_x": address(in_state)}
            pools.append(edges.pool(pool, row, **found, **({} if pool.norm is None else self._slope_and_shift(row))))
            term += count
        edges.loops.call("pool_backward", edges.loops.inputs, pools)

    def _through_identities(self, in_state: Tensor) -> None:
        """Add what comes through identities to the gradient in the state."""
        terms = [
            self._weighted(number, edge)
            for number, operation in enumerate(self.edges.operations)
            if isinstance(operation, Identities)
            for edge in range(len(operation.receivers))
        ]
        self.edges.loops.call("sum_terms", self.edges.loops.outputs, terms, address(in_state), True)

    def _through_values(self) -> None:
        """Set the gradients in what other operations gave."""
        for number, in_operation in enumerate(self._in_operations):
            if isinstance(in_operation, Values):
                for edge, in_value in enumerate(in_operation.values):
                    terms = [self._weighted(number, edge)]
                    self.edges.loops.call("sum_terms", self.edges.loops.outputs, terms, address(in_value), False)

    def _weighted(self, operation: int, edge: int) -> TermArgs:
        """Return the gradient in a node times the weight of an edge, as a term."""
        weight = address(self.edges.operations[operation].weights, edge)
        return TermArgs(x=self._in_node(operation, edge), weight=weight)
