"""Selection by chance: the baseline that every method must beat."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from archselect.checks import check_flag
from archselect.networks.cell_space import CellDecisions, CellSpace
from archselect.networks.supernet import Supernet
from archselect.randomness import generator_for
from archselect.selection.decision import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.selector import Point, Trials


@dataclass(frozen=True)
class Random:
    """Keep on every edge an operation, and for every node its in-edges, uniformly at random."""

    name: str = "random"
    report_strengths: bool = False
    tuning = None
    scoring = None
    compares = False
    reads_alpha = False

    def __post_init__(self) -> None:
        check_flag("selection.report_strengths", self.report_strengths)

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Nothing can be wrong: see `Selector.check`."""

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """All decisions are made at one point."""
        return 1

    def decide(self, point: Point, supernet: Supernet, trials: Trials, seed: int) -> Iterator[Decision]:
        """See `Selector.decide`."""
        for name, space in supernet.cell_spaces.items():
            undecided = supernet.decisions[name]
            for edge in undecided.undecided_edges:
                generator = generator_for(seed, "selection", "random", name, "edge", edge)
                candidates = len(space.operations[edge])
                operation = int(torch.randint(candidates, (), generator=generator))
                equal = (Strength(1 / candidates),) * candidates
                yield OperationDecision(name, edge, operation, strengths=equal if candidates > 1 else ())
            for node in undecided.undecided_nodes(space):
                generator = generator_for(seed, "selection", "random", name, "node", node)
                into = [edge for edge in space.topology.edges_into(node) if undecided.kept[edge]]
                order = torch.randperm(len(into), generator=generator)[: space.topology.edges_kept_into(node)]
                yield TopologyDecision(name, node, tuple(sorted(into[int(index)] for index in order)))
