"""Selection by the size of the architecture parameters (DARTS, sec. 2.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet, argmax_inputs, argmax_operation
from archselect.selection.base import DecisionStep, SupernetEvaluator
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.utils.validation import FLAG


@dataclass(frozen=True)
class Magnitude:
    """Keep on every edge the operation with the largest weight; keep the in-edges whose largest weight is largest.

    Where nodes choose their inputs, `none` is never kept (as in DARTS): its weight says that an edge is weak, not
    which operation is strong.
    """

    name: str = "magnitude"
    report_strengths: bool = False
    tuning = None
    scoring = None
    needs_candidates = False
    needs_trained_alpha = True

    def __post_init__(self) -> None:
        FLAG.check("selection.report_strengths", self.report_strengths)

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Nothing can be wrong: see `Selector.check`."""

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """All decisions are made at one point."""
        return 1

    def decide(
        self, point: DecisionStep, supernet: Supernet, trials: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """See `Selector.decide`."""
        yield from magnitude_decisions(supernet)


def magnitude_decisions(supernet: Supernet) -> Iterator[Decision]:
    """Yield the decisions by magnitude on everything that is still undecided."""
    for name, space in supernet.cell_spaces.items():
        decisions = supernet.decisions[name]
        for edge in decisions.undecided_edges:
            decision = operation_by_magnitude(supernet, space, edge)
            decisions = decision.apply(space, decisions)
            yield decision
        for node in decisions.undecided_nodes(space):
            yield inputs_by_magnitude(supernet, space, decisions, node)


def operation_by_magnitude(supernet: Supernet, space: CellSpace, edge: int) -> OperationDecision:
    """Return the decision for the operation of an edge that has the largest weight."""
    weights = supernet.relaxed(space.name)[edge].tolist()
    candidates = len(space.operations[edge])
    strengths = tuple(Strength(weights[index]) for index in range(candidates)) if candidates > 1 else ()
    return OperationDecision(space.name, edge, argmax_operation(supernet, space, edge), strengths=strengths)


def inputs_by_magnitude(supernet: Supernet, space: CellSpace, decisions: CellDecisions, node: int) -> TopologyDecision:
    """Return the decision for the in-edges of a node whose kept operations have the largest weights."""
    return TopologyDecision(space.name, node, argmax_inputs(supernet, space, decisions, node))
