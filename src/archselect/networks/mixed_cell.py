"""A cell whose edges are mixtures of operations."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from archselect.networks.cell_space import CellSpace
from archselect.networks.mixture import Mixture
from archselect.networks.stacked import STACKED, Source


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

    def forward(self, inputs: Sequence[Tensor], mixture: Mixture) -> Tensor:
        """Return the output for the inputs `(B, C, H, W)`: `(B, nodes * C, H', W')`, or `(B, C, H', W')` for "last"."""
        topology = self.space.topology
        states = list(inputs)
        fed: list[list[Tensor]] = [[] for _ in range(topology.nodes)]
        for state in range(topology.inputs + topology.nodes):
            if state >= topology.inputs:
                states.append(self._sum(fed[state - topology.inputs], inputs[0]))
            for edges, total in self._leaving(state, states[state], mixture):
                for edge, output in zip(edges, total.chunk(len(edges), dim=1), strict=True):
                    fed[topology.edges[edge][1] - topology.inputs].append(output)
        nodes = states[topology.inputs :]
        return torch.cat(nodes, dim=1) if topology.output == "concat" else nodes[-1]

    def _leaving(self, state: int, x: Tensor, mixture: Mixture) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """Yield edges out of a state and what is on them, `(B, E * C, H', W')`, summed where the edges are the same."""
        source = Source(x, self._stride_from(state))
        totals: dict[tuple[int, ...], Tensor] = {}
        for term, weights in mixture.leaving(state):
            operation = cast(nn.ModuleDict, self.operations[state])[term.operation]
            for edges, their_weights in _lanes(term.edges, weights):
                positions = [self._positions[state][term.operation][edge] for edge in edges]
                totals[edges] = operation(source, their_weights, positions, totals.get(edges))
        yield from totals.items()

    def _sum(self, outputs: list[Tensor], like: Tensor) -> Tensor:
        """Return the value of a node; zeros if nothing feeds it."""
        if not outputs:
            return self._zeros(like)
        return sum(outputs[1:], start=outputs[0])

    def _zeros(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like[:, :, :: self.stride, :: self.stride])


Lane = tuple[tuple[int, ...], Tensor]
"""Edges that are evaluated together, and their mixture weights `(E,)`."""


def _lanes(edges: tuple[int, ...], weights: Tensor) -> Iterable[Lane]:
    """Yield one lane on a GPU, where kernels are dear; one per edge on a CPU, where copies are."""
    return one_by_one(edges, weights) if weights.device.type == "cpu" else together(edges, weights)


def together(edges: tuple[int, ...], weights: Tensor) -> Iterable[Lane]:
    """Yield one lane of all edges."""
    return [(edges, weights)]


def one_by_one(edges: tuple[int, ...], weights: Tensor) -> Iterable[Lane]:
    """Yield one lane per edge."""
    return [((edge,), weight) for edge, weight in zip(edges, weights.split(1), strict=True)]
