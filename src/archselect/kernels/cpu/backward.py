"""The gradients of the operations that leave a state, written by hand."""

from collections.abc import Sequence
from ctypes import c_void_p

import torch
from torch import Tensor

from archselect.kernels.cpu.evaluated import Evaluated
from archselect.kernels.cpu.native import ConvolutionArgs, NormArgs, TermArgs, address, empty
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
        in_tensors: The gradients in the tensors of the operations; not set where they are not wanted.
    """

    def __init__(self, edges: Evaluated, gradients: Sequence[Tensor], needs_state: bool, needs: Sequence[bool]) -> None:
        self.edges = edges
        self.gradients = gradients
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
        whole = not isinstance(operation, Convolutions) or operation.fills(self.edges.channels)
        return torch.empty_like(tensor) if whole else torch.zeros_like(tensor)

    def _through_terms(self) -> None:
        """Compute the gradients in the mixture weights, and scales, slopes and shifts."""
        edges, terms = self.edges, list(self.edges.terms())
        self._scales = edges.state.new_empty(len(terms), edges.channels)
        self._slopes, self._shifts = edges.state.new_zeros(2, edges.statistics.shape[1], edges.channels).unbind()
        wanted: list[TermArgs] = []
        for index, term in enumerate(terms):
            in_operation, args = self._in_operations[term.operation], term.args
            changed = isinstance(in_operation, Convolutions | Pools)  # not only weighted
            if not (changed or self.needs_weights):
                continue
            args.gradient = self.gradients[term.receiver].data_ptr()
            args.in_weight = address(in_operation.weights, term.edge)
            if changed:
                args.a = self._scale(index)
            if term.row is not None:
                args.b, args.c = self._slope_and_shift(term.row)
            if self.needs_parameters and isinstance(in_operation, Convolutions):
                position = in_operation.positions[term.edge]
                args.in_gamma, args.in_beta = edges.affine(in_operation.stages[-1], position)
            wanted.append(args)
        edges.native_loops.term_gradients(wanted)

    def _scale(self, term: int) -> int:
        """Return where the scale of a term stands."""
        return address(self._scales, term * self.edges.channels)

    def _slope_and_shift(self, row: int) -> tuple[int, int]:
        """Return where slope and shift of a row of the statistics stand."""
        offset = row * self.edges.channels
        return address(self._slopes, offset), address(self._shifts, offset)

    def _set_gradient_of_node(self, args: ConvolutionArgs, index: int) -> None:
        """Set the gradient in a convolution that adds to a node: that in the node, scale, slope and shift."""
        number, edge, _, _ = self.edges.convolutions[index]
        args.gradient = self.gradients[self.edges.operations[number].receivers[edge]].data_ptr()
        args.a = self._scale(index)
        args.b, args.c = self._slope_and_shift(self.edges.last_row(index))

    def _set_in_weights(self, args: ConvolutionArgs, index: int, which: int) -> None:
        """Set where the gradients in the weights of a stage belong, if they are wanted."""
        if self.needs_parameters:
            number, _, position, _ = self.edges.convolutions[index]
            in_operation = self._in_operations[number]
            assert isinstance(in_operation, Convolutions)
            args.in_depthwise, args.in_mixing = self.edges.weights(in_operation.stages[which], position)

    def _through_seconds(self) -> list[Tensor]:
        """Return, for each second stage, the gradient in what it reads: what the first gave, normalised."""
        edges = self.edges
        in_firsts = [edges.output() for _ in range(edges.double)]
        self._first_scales, sums, products = edges.state.new_empty(3, edges.double, edges.channels).unbind()
        seconds, norms = [], []
        for index, in_first in enumerate(in_firsts):
            offset = index * edges.channels
            args = edges.second(index)
            self._set_gradient_of_node(args, index)
            args.in_x = in_first.data_ptr()
            args.in_sum, args.in_product = address(sums, offset), address(products, offset)
            self._set_in_weights(args, index, 1)
            seconds.append(args)
            _, _, position, (first, _) = edges.convolutions[index]
            mean, rstd = edges.moments(index)
            slope, shift = self._slope_and_shift(index)
            norms.append(
                NormArgs(
                    sum=args.in_sum,
                    product=args.in_product,
                    mean=mean,
                    rstd=rstd,
                    gamma=edges.affine(first, position)[0],
                    a=address(self._first_scales, offset),
                    b=slope,
                    c=shift,
                )
            )
        edges.native_loops.convolutions_backward(seconds, first=False)
        edges.native_loops.norm_gradients(norms)
        if self.needs_parameters:
            self._set_in_first_affine(sums, products)
        return in_firsts

    def _set_in_first_affine(self, sums: Tensor, products: Tensor) -> None:
        """Set the gradients in scale and shift of the normalisations between two stages, if there are any."""
        rstd = self.edges.statistics[1]
        for index, (number, _, position, _) in enumerate(self.edges.convolutions[: self.edges.double]):
            in_operation = self._in_operations[number]
            assert isinstance(in_operation, Convolutions)
            if (in_affine := in_operation.stages[0].affine) is not None:
                in_scale, in_shift = (parameter.view(-1, self.edges.channels)[position] for parameter in in_affine)
                torch.mul(products[index], rstd[index], out=in_scale)
                in_shift.copy_(sums[index])

    def _through_firsts(self, in_firsts: Sequence[Tensor]) -> None:
        """Set the gradient in the state, as far as it comes from convolutions, and those in their weights."""
        edges, firsts = self.edges, []
        for index in range(len(edges.convolutions)):
            args = edges.first(index)
            if index < edges.double:
                args.gradient = in_firsts[index].data_ptr()
                args.a = address(self._first_scales, index * edges.channels)
                args.b, args.c = self._slope_and_shift(index)
            else:
                self._set_gradient_of_node(args, index)
            args.in_x = None if self.in_state is None else self.in_state.data_ptr()
            self._set_in_weights(args, index, 0)
            firsts.append(args)
        edges.native_loops.convolutions_backward(firsts, first=True)
        if not firsts and self.in_state is not None:
            self.in_state.zero_()

    def _through_pools(self, in_state: Tensor) -> None:
        """Add what comes through pools to the gradient in the state."""
        edges, pools = self.edges, []
        term = len(edges.convolutions)
        for index, pool in enumerate(edges.pools.values()):
            args, count = edges.pool(index, pool), len(pool.receivers)
            args.count = count
            args.gradients = (c_void_p * count)(*(self.gradients[receiver].data_ptr() for receiver in pool.receivers))
            args.a = (c_void_p * count)(*(self._scale(term + edge) for edge in range(count)))
            if pool.norm is not None:
                args.b, args.c = self._slope_and_shift(edges.pool_row(index))
            args.in_x = in_state.data_ptr()
            pools.append(args)
            term += count
        edges.native_loops.pool_backward(pools)

    def _through_identities(self, in_state: Tensor) -> None:
        """Add what comes through identities to the gradient in the state."""
        terms = [
            self._weighted(operation, edge)
            for operation in self.edges.operations
            if isinstance(operation, Identities)
            for edge in range(len(operation.receivers))
        ]
        self.edges.native_loops.sum_terms(terms, in_state, add=True)

    def _through_values(self) -> None:
        """Set the gradients in what other operations gave."""
        for operation, in_operation in zip(self.edges.operations, self._in_operations, strict=True):
            if isinstance(operation, Values) and isinstance(in_operation, Values):
                for edge, in_value in enumerate(in_operation.values):
                    self.edges.native_loops.sum_terms([self._weighted(operation, edge)], in_value, add=False)

    def _weighted(self, operation: Operation, edge: int) -> TermArgs:
        """Return the gradient in a node times the weight of an edge, as a term."""
        gradient = self.gradients[operation.receivers[edge]]
        return TermArgs(x=gradient.data_ptr(), weight=address(operation.weights, edge))
