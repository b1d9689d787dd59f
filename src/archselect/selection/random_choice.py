"""Selection by chance: the baseline that every method must beat."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import DecisionStep, SupernetEvaluator, check_no_strengths
from archselect.selection.decisions import Decision, OperationDecision, TopologyDecision


@dataclass(frozen=True)
class Random:
    """Keep on every edge an operation, and for every node its in-edges, uniformly at random.

    Attributes:
        name: Shown in folders and reports.
        report_strengths: There are none, so true is refused.
    """

    name: str = "random"
    report_strengths: bool = False
    tuning = None
    scoring = None
    needs_candidates = False
    needs_trained_alpha = False

    def __post_init__(self) -> None:
        check_no_strengths(self.name, self.report_strengths)

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Nothing can be wrong: see `Selector.check`."""

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """All decisions are made at one point."""
        return 1

    def decide(
        self, point: DecisionStep, supernet: Supernet, trials: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """See `Selector.decide`."""
        for name, space in supernet.cell_spaces.items():
            undecided = supernet.decisions[name]
            for edge in undecided.undecided_edges:
                generator = generator_for(seed, "selection", "random", name, "edge", edge)
                candidates = len(space.operations[edge])
                operation = int(torch.randint(candidates, (), generator=generator))
                yield OperationDecision(name, edge, operation)
            for node in undecided.undecided_nodes(space):
                generator = generator_for(seed, "selection", "random", name, "node", node)
                into = [edge for edge in space.topology.edges_into(node) if undecided.kept[edge]]
                order = torch.randperm(len(into), generator=generator)[: space.topology.edges_kept_into(node)]
                yield TopologyDecision(name, node, tuple(sorted(into[int(index)] for index in order)))
