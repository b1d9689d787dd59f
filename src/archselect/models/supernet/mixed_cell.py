"""A cell whose edges are mixtures of operations."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import kernels
from archselect.kernels.cpu.native import channels_last
from archselect.models.cell_space import CellSpace
from archselect.models.ops.drop_path import drop_paths
from archselect.models.supernet.mixed_ops import STACKED, CellOutput, CellState, StackedOperation, norms_for_loops
from archselect.models.supernet.mixture import Mixture
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions


@dataclass(frozen=True)
class OutgoingOps:
    """One operation on those edges out of a state on which it has weight.

    Attributes:
        operation: With the weights of all edges stacked.
        edges: The edges, as the cell numbers them.
        positions: Where they stand in the stack.
        weights: Their mixture weights `(E,)`.
        identity: Whether it hands the state on as it is, or stands for that where the resolution is halved.
    """

    operation: StackedOperation
    edges: tuple[int, ...]
    positions: list[int]
    weights: Tensor
    identity: bool


class MixedCell(nn.Module):
    """`node_j = sum over edges (i, j), sum over operations o: weight_ijo * o_ij(state_i)`.

    With partial channels the operations read the first channels of a state; on each edge the others go around them,
    halved in resolution by max pooling where the edge is, and the channels are shuffled (PC-DARTS, sec. 3.2).

    Args:
        space: Edges and candidate operations.
        channels: Of every state.
        stride: Of the edges that leave the cell's inputs; all others have stride 1.
        pool_norm: Whether batch normalisation follows pooling.
        variant: See `SupernetOptions`.
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
        self.active_channels = channels = variant.active_channels(channels)
        self.auxiliary = nn.ModuleList()
        self.operations = nn.ModuleList()
        self._positions: list[dict[str, dict[int, int]]] = []
        for source in range(space.topology.inputs + space.topology.nodes):
            edges_of: dict[str, list[int]] = defaultdict(list)
            for edge, (start, _) in enumerate(space.topology.edges):
                if start == source:
                    for name in space.operations[edge]:
                        if name != "none":
                            edges_of[name].append(edge)
            self.operations.append(
                nn.ModuleDict(
                    {
                        name: STACKED[name](len(edges), channels, self._stride_from(source), pool_norm)
                        for name, edges in edges_of.items()
                    }
                )
            )
            self._positions.append({name: {e: i for i, e in enumerate(edges)} for name, edges in edges_of.items()})
            if variant.auxiliary_skip:
                count = sum(start == source for start, _ in space.topology.edges)
                make = STACKED["skip_connect"]
                self.auxiliary.append(make(max(count, 1), channels, self._stride_from(source), pool_norm))

    def _stride_from(self, source: int) -> int:
        return self.stride if source < self.space.topology.inputs else 1

    def forward(self, inputs: Sequence[Tensor], mixture: Mixture) -> CellOutput:
        """Return the nodes for the inputs `(B, C, H, W)`, each `(B, C, H', W')`."""
        leaving = self._leaving(mixture)
        # The loops have no place for weights that differ from image to image.
        batch = _batch_for_loops(leaving) if not mixture.drop_path and kernels.is_available(*inputs) else None
        if batch is None:
            nodes = _edges_together(self, inputs, mixture, leaving)
        else:
            nodes = _by_loops(self, inputs, mixture, leaving, batch)
        return CellOutput(nodes, self.space.topology.output)

    def _leaving(self, mixture: Mixture) -> list[list[OutgoingOps]]:
        """Return per state every operation that leaves it and has weight."""
        return [list(self.leaving(state, mixture)) for state in range(len(self.operations))]

    def source(self, state: int, value: Tensor) -> CellState:
        """Return a state, given its value `(B, C, H, W)`, as its operations read it."""
        return CellState(value if self.groups == 1 else value[:, : self.active_channels], self._stride_from(state))

    def completed(self, node: int, mixed: Tensor, values: Sequence[Tensor], mixture: Mixture) -> Tensor:
        """Return the value of a node: what its operations gave and, with partial channels, what went around them.

        The weights of operations that were not drawn are added where they are wanted for their gradient; they are 0.

        Args:
            node: As a state.
            mixed: `(B, C / K, H', W')`.
            values: Of the states before it, `(B, C, H, W)`.
            mixture: Says which edges feed the node, and with which weight.
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
                if self._stride_from(source) == 2:
                    rest = F.max_pool2d(rest, 2, 2)
                rest = rest if mixture.edges is None else mixture.edges[edge] * rest
                bypass = rest if bypass is None else bypass + rest
        if bypass is None:
            bypass = mixed.new_zeros(mixed.shape[0], (self.groups - 1) * self.active_channels, *mixed.shape[2:])
        return F.channel_shuffle(torch.cat([mixed, bypass], dim=1), self.groups)

    def leaving(self, state: int, mixture: Mixture) -> Iterator[OutgoingOps]:
        """Yield every operation that leaves a state and has weight."""
        for term, weights in mixture.leaving(state):
            operation = cast(StackedOperation, cast(nn.ModuleDict, self.operations[state])[term.operation])
            positions = [self._positions[state][term.operation][edge] for edge in term.edges]
            yield OutgoingOps(operation, term.edges, positions, weights, term.operation == "skip_connect")
        edges = [edge for edge in mixture.auxiliary_edges if self.space.topology.edges[edge][0] == state]
        if edges and self.auxiliary:
            every = [edge for edge, (start, _) in enumerate(self.space.topology.edges) if start == state]
            operation = cast(StackedOperation, self.auxiliary[state])
            weights = mixture.auxiliary_weights(edges)
            yield OutgoingOps(operation, tuple(edges), [every.index(edge) for edge in edges], weights, identity=True)

    def branches(self, inputs: Sequence[Tensor], mixture: Mixture) -> dict[int, dict[str, Tensor]]:
        """Return what each operation that has weight gives on each edge, `(B, C / K, H', W')`, before it is weighted.

        Args:
            inputs: Of the cell, each `(B, C, H, W)`.
            mixture: The states of the cell follow from it.
        """
        values = [*inputs, *(source.state for source in _edges_together(self, inputs, mixture, self._leaving(mixture)))]
        found: dict[int, dict[str, Tensor]] = {}
        for state, value in enumerate(values):
            source = self.source(state, value)
            for term, weights in mixture.leaving(state):
                operation = cast(StackedOperation, cast(nn.ModuleDict, self.operations[state])[term.operation])
                positions = [self._positions[state][term.operation][edge] for edge in term.edges]
                outputs = operation(source, torch.ones_like(weights), positions).chunk(len(term.edges), dim=1)
                for edge, output in zip(term.edges, outputs, strict=True):
                    found.setdefault(edge, {})[term.operation] = output
        return found

    def exchange(self, first: int, second: int) -> None:
        """Let two edges change operations: what one computed on its source, the other computes on its own.

        Weights and statistics go over. What an operation without weights has of statistics stays with its source.

        Raises:
            ValueError: The edges differ in their candidates or in their stride.
        """
        edges = self.space.topology.edges
        sources = [edges[edge][0] for edge in (first, second)]
        if self.space.operations[first] != self.space.operations[second]:
            raise ValueError(
                f"Edges {edges[first]} and {edges[second]} have different candidates, so they cannot change."
            )
        if len({self._stride_from(source) for source in sources}) > 1:
            raise ValueError(f"Edges {edges[first]} and {edges[second]} have different strides, so they cannot change.")
        for name in self.space.operations[first]:
            if name != "none":
                stacks = [cast(nn.ModuleDict, self.operations[source])[name] for source in sources]
                places = [
                    self._positions[source][name][edge] for source, edge in zip(sources, (first, second), strict=True)
                ]
                cast(StackedOperation, stacks[0]).exchange(places[0], cast(StackedOperation, stacks[1]), places[1])

    def node_of(self, edge: int) -> int:
        """Return which of the nodes, counted from 0, an edge leads to."""
        return self.space.topology.edges[edge][1] - self.space.topology.inputs

    def zeros(self, like: Tensor) -> Tensor:
        """Return what the operations of a node give that nothing feeds, given an input of the cell."""
        return torch.zeros_like(like[:, : self.active_channels, :: self.stride, :: self.stride])


def _batch_for_loops(leaving: Sequence[Sequence[OutgoingOps]]) -> kernels.NormMode | None:
    """Return how all normalisations treat a batch; None if the loops do not compute what the operations do."""
    norms = norms_for_loops(one.operation for of_state in leaving for one in of_state)
    return None if norms is None else kernels.norm_mode(norms)


def _edges_together(
    cell: MixedCell, inputs: Sequence[Tensor], mixture: Mixture, leaving: Sequence[Sequence[OutgoingOps]]
) -> list[CellState]:
    """Evaluate an operation on all edges out of a state at once: few kernels."""
    values: list[Tensor] = list(inputs)
    fed: list[list[Tensor]] = [[] for _ in range(cell.space.topology.nodes)]
    for state in range(len(inputs) + len(fed)):
        if state >= len(inputs):
            outputs = fed[state - len(inputs)]
            mixed = sum(outputs[1:], start=outputs[0]) if outputs else cell.zeros(inputs[0])
            values.append(cell.completed(state, mixed, values, mixture))
        source = cell.source(state, values[state])
        totals: dict[tuple[int, ...], Tensor] = {}
        for one in leaving[state]:
            total = totals.get(one.edges)
            if mixture.drop_path and not one.identity:
                out = one.operation(source, one.weights, one.positions)
                out = drop_paths(out, mixture.drop_path, len(one.edges))
                totals[one.edges] = out if total is None else total + out
            else:
                totals[one.edges] = one.operation(source, one.weights, one.positions, total)
        for edges, total in totals.items():
            for edge, output in zip(edges, total.chunk(len(edges), dim=1), strict=True):
                fed[cell.node_of(edge)].append(output)
    return [CellState(value) for value in values[len(inputs) :]]


def _by_loops(
    cell: MixedCell,
    inputs: Sequence[Tensor],
    mixture: Mixture,
    leaving: Sequence[Sequence[OutgoingOps]],
    batch: kernels.NormMode,
) -> list[CellState]:
    """Let compiled loops evaluate all operations out of a state, and sum what arrives at a node."""
    values: list[Tensor] = [channels_last(value) for value in inputs]
    arrived: list[list[kernels.EdgeOutput]] = [[] for _ in range(cell.space.topology.nodes)]
    for state in range(len(inputs) + len(arrived)):
        if state >= len(inputs):
            here = arrived[state - len(inputs)]
            mixed = kernels.node_sum(here) if here else channels_last(cell.zeros(inputs[0]))
            values.append(cell.completed(state, mixed, values, mixture))
        source = cell.source(state, values[state])
        receivers = sorted({cell.node_of(edge) for one in leaving[state] for edge in one.edges})
        operations = [
            one.operation.for_loops(
                source, one.weights, one.positions, [receivers.index(cell.node_of(edge)) for edge in one.edges]
            )
            for one in leaving[state]
        ]
        if operations:
            state_value = channels_last(source.state)
            arrivals = kernels.edge_forward(state_value, operations, source.stride, len(receivers), batch)
            for node, arrival in zip(receivers, arrivals, strict=True):
                arrived[node].append(arrival)
    return [CellState(value) for value in values[len(inputs) :]]
