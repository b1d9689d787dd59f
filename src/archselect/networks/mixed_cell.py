"""A cell whose edges are mixtures of operations."""

from collections import defaultdict
from collections.abc import Sequence

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
        """Return the cell's output for its inputs `(B, C, H, W)`: `(B, nodes * C, H', W')`, or `(B, C, H', W')` for `"last"`."""
        topology = self.space.topology
        states = list(inputs)
        totals: list[Tensor | None] = [None] * topology.nodes
        for state in range(topology.inputs + topology.nodes):
            if state >= topology.inputs:
                total = totals[state - topology.inputs]
                states.append(self._zeros(inputs[0]) if total is None else total)
            terms = mixture.leaving(state)
            source = Source(states[state], self._stride_from(state))
            for term, weights in terms:
                positions = [self._positions[state][term.operation][edge] for edge in term.edges]
                outputs = self.operations[state][term.operation](source, weights, positions)
                for edge, output in zip(term.edges, outputs, strict=True):
                    node = topology.edges[edge][1] - topology.inputs
                    total = totals[node]
                    totals[node] = output if total is None else total + output
        nodes = states[topology.inputs :]
        return torch.cat(nodes, dim=1) if topology.output == "concat" else nodes[-1]

    def _zeros(self, like: Tensor) -> Tensor:
        """The value of a node that nothing feeds."""
        return torch.zeros_like(like[:, :, :: self.stride, :: self.stride])
