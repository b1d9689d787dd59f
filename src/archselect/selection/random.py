"""Selection by chance: the baseline that every method must beat."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from archselect.networks.cell_space import CellSpace
from archselect.networks.supernet import Supernet
from archselect.randomness import generator_for
from archselect.selection.decision import Decision, OperationDecision, TopologyDecision
from archselect.selection.selector import ScoreAll


@dataclass(frozen=True)
class Random:
    """Keep on every edge an operation, and for every node its in-edges, uniformly at random."""

    name: str = "random"
    tuning = None
    scoring = None

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Nothing can be wrong: see `Selector.check`."""

    def points(self, cells: Mapping[str, CellSpace]) -> int:
        """All decisions are made at one point."""
        return 1

    def decide(self, point: int, supernet: Supernet, score: ScoreAll, seed: int) -> Iterator[Decision]:
        """See `Selector.decide`."""
        for name, space in supernet.cell_spaces.items():
            undecided = supernet.decisions[name]
            for edge in undecided.undecided_edges:
                generator = generator_for(seed, "selection", "random", name, "edge", edge)
                operation = int(torch.randint(len(space.operations[edge]), (), generator=generator))
                yield OperationDecision(name, edge, operation)
            for node in undecided.undecided_nodes(space):
                generator = generator_for(seed, "selection", "random", name, "node", node)
                into = space.topology.edges_into(node)
                order = torch.randperm(len(into), generator=generator)[: space.topology.edges_kept_into(node)]
                yield TopologyDecision(name, node, tuple(sorted(into[int(index)] for index in order)))
