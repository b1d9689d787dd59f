"""The mixed cell: DARTS, sec. 2.1 and 2.2 (eq. 1 and 2), with every operation on every edge, weighted by a `Mixture`.

    node_j = sum over edges (i, j), sum over operations o: weight_ijo * o_ij(state_i)

With partial channels the operations read the first channels of a state; on each edge the others go around them, halved
in resolution by max pooling where the edge is, and the channels are shuffled (PC-DARTS, sec. 3.2).
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import kernels
from archselect.models.cell_space import CellSpace
from archselect.models.ops.primitives import drop_path
from archselect.models.supernet.mixed_ops import CellOutput, CellState, StackedOperation, norms_for_kernels, stacked
from archselect.models.supernet.mixture import Mixture, Term
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions

Outgoing = tuple[Term, StackedOperation, Tensor]
"""An operation on those edges out of a state on which it has weight: the edges, the operation, their weights `(E,)`."""


class MixedCell(nn.Module):
    """A cell whose edges are mixtures of operations.

    Args:
        space: Edges and candidate operations.
        channels: Of every state.
        stride: Of the edges that leave the cell's inputs; all others have stride 1.
        pool_norm: Whether batch normalisation follows pooling.
        variant: What the search method asks for: partial channels, auxiliary skip connections.

    Attributes:
        operations: For each state the operations on the edges out of it, by name, each with the weights of all edges
            that offer it stacked.
        auxiliary: For each state the auxiliary skip connections beside all edges out of it, if there are any.
    """

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        stride: int = 1,
        pool_norm: bool = True,
        variant: SupernetOptions = DARTS_OPTIONS,
    ) -> None:
        super().__init__()
        self.space = space
        self.stride = stride
        self.groups = variant.partial_channels
        self.active_channels = variant.active_channels(channels)
        self.auxiliary = nn.ModuleList()
        self.operations = nn.ModuleList()
        for state in space.topology.states:
            built = self.active_channels, self.stride_from(state), pool_norm
            stacks = {name: stacked(name, space, len(edges), *built) for name, edges in space.stacks(state).items()}
            self.operations.append(nn.ModuleDict(stacks))
            if variant.auxiliary_skip:
                self.auxiliary.append(stacked("skip_connect", space, len(space.topology.edges_from(state)), *built))

    def stride_from(self, state: int) -> int:
        """Return the stride of the edges that leave a state."""
        return self.stride if state < self.space.topology.inputs else 1

    def forward(self, inputs: Sequence[Tensor], mixture: Mixture) -> CellOutput:
        """Return the nodes for the inputs `(B, C, H, W)`, each `(B, C, H', W')`."""
        return CellOutput(self.nodes(inputs, mixture), self.space.topology.output)

    def nodes(self, inputs: Sequence[Tensor], mixture: Mixture) -> list[Tensor]:
        """Return the value of each node, `(B, C, H', W')`: state after state, each is spread over its edges."""
        topology = self.space.topology
        outgoing = [list(self.outgoing(state, mixture)) for state in topology.states]
        norm_mode = None
        if not mixture.drop_path and kernels.is_available(*inputs):  # the loops have one weight for all images
            norms = norms_for_kernels(operation for of_state in outgoing for _, operation, _ in of_state)
            norm_mode = None if norms is None else kernels.norm_mode(norms)
        values = list(inputs) if norm_mode is None else list(map(kernels.channels_last, inputs))
        fed: list[list[Any]] = [[] for _ in topology.states]
        for state in topology.states:
            if state in topology.node_states:
                if not fed[state]:
                    mixed = torch.zeros_like(values[0][:, : self.active_channels, :: self.stride, :: self.stride])
                else:
                    mixed = sum(fed[state][1:], fed[state][0]) if norm_mode is None else kernels.node_sum(fed[state])
                values.append(self._completed(state, mixed, values, mixture))
            source = self.read(state, values[state])
            outputs: Iterator[tuple[int, Any]] = (
                self._edge_outputs(source, outgoing[state], mixture.drop_path)
                if norm_mode is None
                else self._kernel_outputs(source, outgoing[state], norm_mode)
            )
            for node, output in outputs:
                fed[node].append(output)
        return values[len(inputs) :]

    def read(self, state: int, value: Tensor) -> CellState:
        """Return a state, given its value `(B, C, H, W)`, as its operations read it."""
        return CellState(value[:, : self.active_channels] if self.groups > 1 else value, self.stride_from(state))

    def outgoing(self, state: int, mixture: Mixture) -> Iterator[Outgoing]:
        """Yield every operation that leaves a state and has weight."""
        operations = cast(nn.ModuleDict, self.operations[state])
        for term, weights in mixture.terms_from(state):
            yield term, cast(StackedOperation, operations[term.operation]), weights
        leaving = self.space.topology.edges_from(state)
        edges = tuple(edge for edge in leaving if edge in mixture.auxiliary_edges)
        if edges and self.auxiliary:
            term = Term("skip_connect", edges, tuple(map(leaving.index, edges)))
            yield term, cast(StackedOperation, self.auxiliary[state]), mixture.auxiliary_weights(edges)

    def _edge_outputs(
        self, source: CellState, outgoing: Sequence[Outgoing], probability: float
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield node and output of each edge: an operation is evaluated on all edges at once, by few GPU kernels."""
        totals: dict[tuple[int, ...], Tensor] = {}
        for term, operation, weights in outgoing:
            total = totals.get(term.edges)
            if probability and term.operation != "skip_connect":
                out = drop_path(operation(source, weights, term.positions), probability, len(term.edges))
                totals[term.edges] = out if total is None else total + out
            else:
                totals[term.edges] = operation(source, weights, term.positions, total)
        for edges, total in totals.items():
            for edge, output in zip(edges, total.chunk(len(edges), dim=1), strict=True):
                yield self._node(edge), output

    def _kernel_outputs(
        self, source: CellState, outgoing: Sequence[Outgoing], norm_mode: kernels.NormMode
    ) -> Iterator[tuple[int, kernels.EdgeOutput]]:
        """Yield each node that is fed and what arrives there: compiled loops evaluate all operations in one call."""
        nodes = sorted({self._node(edge) for term, _, _ in outgoing for edge in term.edges})
        operations = []
        for term, operation, weights in outgoing:
            receivers = [nodes.index(self._node(edge)) for edge in term.edges]
            operations.append(operation.for_kernels(source, weights, term.positions, receivers))
        if operations:
            state = kernels.channels_last(source.state)
            outputs = kernels.edge_forward(state, operations, source.stride, len(nodes), norm_mode)
            yield from zip(nodes, outputs, strict=True)

    def _completed(self, node: int, mixed: Tensor, values: Sequence[Tensor], mixture: Mixture) -> Tensor:
        """Return the value of a node: what its operations gave and, with partial channels, what went around them.

        The weights of operations that were not drawn are added where they are wanted for their gradient; they are 0.
        """
        into = self.space.topology.edges_into(node)
        undrawn = mixture.undrawn_into(into)
        mixed = mixed if undrawn is None else mixed + undrawn
        if self.groups == 1:
            return mixed
        bypass = None
        for edge in into:
            if edge in mixture.feeding:
                source, _ = self.space.topology.edges[edge]
                rest = values[source][:, self.active_channels :]
                if self.stride_from(source) == 2:
                    rest = F.max_pool2d(rest, 2, 2)
                rest = rest if mixture.edges is None else mixture.edges[edge] * rest
                bypass = rest if bypass is None else bypass + rest
        if bypass is None:
            bypass = mixed.new_zeros(mixed.shape[0], (self.groups - 1) * self.active_channels, *mixed.shape[2:])
        return F.channel_shuffle(torch.cat([mixed, bypass], dim=1), self.groups)

    def _node(self, edge: int) -> int:
        return self.space.topology.edges[edge][1]
