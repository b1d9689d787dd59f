"""A cell whose edges are mixtures of operations."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from archselect import kernels
from archselect.kernels.layout import channels_last
from archselect.networks.cell_space import CellSpace
from archselect.networks.mixture import Mixture
from archselect.networks.source import CellOutput, Source
from archselect.networks.stacked import STACKED, StackedOperation


@dataclass(frozen=True)
class Leaving:
    """One operation on those edges out of a state on which it has weight.

    Attributes:
        operation: With the weights of all edges stacked.
        edges: The edges, as the cell numbers them.
        positions: Where they stand in the stack.
        weights: Their mixture weights `(E,)`.
    """

    operation: StackedOperation
    edges: tuple[int, ...]
    positions: list[int]
    weights: Tensor


class MixedCell(nn.Module):
    """`node_j = sum over edges (i, j), sum over operations o: weight_ijo * o_ij(state_i)`.

    Args:
        space: Edges and candidate operations.
        channels: Of every state.
        stride: Of the edges that leave the cell's inputs; all others have stride 1.
        pool_norm: Whether batch normalisation follows pooling.
    """

    def __init__(self, space: CellSpace, channels: int, stride: int = 1, pool_norm: bool = True) -> None:
        super().__init__()
        self.space = space
        self.stride = stride
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

    def _stride_from(self, source: int) -> int:
        return self.stride if source < self.space.topology.inputs else 1

    def forward(self, inputs: Sequence[Tensor], mixture: Mixture) -> CellOutput:
        """Return the nodes for the inputs `(B, C, H, W)`, each `(B, C, H', W')`."""
        evaluate = _by_loops if kernels.serve(inputs[0]) else _edges_together
        return CellOutput(evaluate(self, inputs, mixture), self.space.topology.output)

    def source(self, state: int, value: Tensor) -> Source:
        """Return a state, given its value `(B, C, H, W)`, as its operations read it."""
        return Source(value, self._stride_from(state))

    def leaving(self, state: int, mixture: Mixture) -> Iterator[Leaving]:
        """Yield every operation that leaves a state and has weight."""
        for term, weights in mixture.leaving(state):
            operation = cast(StackedOperation, cast(nn.ModuleDict, self.operations[state])[term.operation])
            positions = [self._positions[state][term.operation][edge] for edge in term.edges]
            yield Leaving(operation, term.edges, positions, weights)

    @property
    def batch(self) -> kernels.Batch:
        """How the cell's normalisations treat a batch."""
        return kernels.batch(next(self.norms, nn.BatchNorm2d(1)))

    @property
    def norms(self) -> Iterator[nn.BatchNorm2d]:
        """All normalisations."""
        return (module for module in self.operations.modules() if isinstance(module, nn.BatchNorm2d))

    def node_of(self, edge: int) -> int:
        """Return which of the nodes, counted from 0, an edge leads to."""
        return self.space.topology.edges[edge][1] - self.space.topology.inputs

    def zeros(self, like: Tensor) -> Tensor:
        """Return the value of a node that nothing feeds, given an input of the cell."""
        return torch.zeros_like(like[:, :, :: self.stride, :: self.stride])


def _edges_together(cell: MixedCell, inputs: Sequence[Tensor], mixture: Mixture) -> list[Source]:
    """Evaluate an operation on all edges out of a state at once: few kernels."""
    states: list[Source] = []
    fed: list[list[Tensor]] = [[] for _ in range(cell.space.topology.nodes)]
    for state in range(len(inputs) + len(fed)):
        if state < len(inputs):
            value = inputs[state]
        else:
            outputs = fed[state - len(inputs)]
            value = sum(outputs[1:], start=outputs[0]) if outputs else cell.zeros(inputs[0])
        states.append(source := cell.source(state, value))
        totals: dict[tuple[int, ...], Tensor] = {}
        for leaving in cell.leaving(state, mixture):
            total = totals.get(leaving.edges)
            totals[leaving.edges] = leaving.operation(source, leaving.weights, leaving.positions, total)
        for edges, total in totals.items():
            for edge, output in zip(edges, total.chunk(len(edges), dim=1), strict=True):
                fed[cell.node_of(edge)].append(output)
    return states[len(inputs) :]


def _by_loops(cell: MixedCell, inputs: Sequence[Tensor], mixture: Mixture) -> list[Source]:
    """Let compiled loops evaluate all operations out of a state, and sum what arrives at a node."""
    states: list[Source] = []
    arrived: list[list[kernels.Arrival]] = [[] for _ in range(cell.space.topology.nodes)]
    for state in range(len(inputs) + len(arrived)):
        if state < len(inputs):
            value = channels_last(inputs[state])
        else:
            here = arrived[state - len(inputs)]
            value = kernels.arrive(here) if here else channels_last(cell.zeros(inputs[0]))
        states.append(source := cell.source(state, value))
        leaving = list(cell.leaving(state, mixture))
        receivers = sorted({cell.node_of(edge) for one in leaving for edge in one.edges})
        operations = [
            one.operation.for_loops(
                source, one.weights, one.positions, [receivers.index(cell.node_of(edge)) for edge in one.edges]
            )
            for one in leaving
        ]
        if operations:
            arrivals = kernels.leave(value, operations, source.stride, len(receivers), cell.batch)
            for node, arrival in zip(receivers, arrivals, strict=True):
                arrived[node].append(arrival)
    return states[len(inputs) :]
