"""Selection by the size of the architecture parameters (DARTS, sec. 2.4)."""

from collections.abc import Iterator
from dataclasses import dataclass

from archselect.models.cell_space import CellSpace
from archselect.models.supernet.supernet import Supernet, argmax_inputs, argmax_operation
from archselect.selection.base import DecisionStep, Evaluator, Selector
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision


@dataclass(frozen=True)
class Magnitude(Selector):
    """Keep on every edge the operation with the largest weight; keep the in-edges whose largest weight is largest.

    Where nodes choose their inputs, `none` is never kept (as in DARTS): its weight says that an edge is weak, not
    which operation is strong.
    """

    name: str = "magnitude"
    report_strengths: bool = False
    needs_candidates = False
    needs_trained_alpha = True

    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
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
            yield TopologyDecision(name, node, argmax_inputs(supernet, space, decisions, node))


def operation_by_magnitude(supernet: Supernet, space: CellSpace, edge: int) -> OperationDecision:
    """Return the decision for the operation of an edge that has the largest weight."""
    weights = supernet.relaxed(space.name)[edge, : len(space.operations[edge])].tolist()
    strengths = tuple(map(Strength, weights)) if len(weights) > 1 else ()
    return OperationDecision(space.name, edge, argmax_operation(supernet, space, edge), strengths=strengths)
