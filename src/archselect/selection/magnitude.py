"""Selection by the size of the architecture parameters (DARTS, sec. 2.4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from archselect.models.cell_space import CellSpace
from archselect.models.supernet.supernet import Supernet, argmax_inputs, argmax_operation, says_weak
from archselect.selection.base import DecisionStep, Evaluator, Selector, others
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.limit import Budget
from archselect.selection.strongest import strongest_within


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
        yield from magnitude_decisions(supernet, self.budget)


def magnitude_decisions(supernet: Supernet, budget: Budget | None = None) -> Iterator[Decision]:
    """Yield the decisions by magnitude on everything that is still undecided, within a budget if there is one."""
    if budget is not None:
        yield from strongest_within(budget, supernet, partial(_ranking, supernet), partial(_strengths, supernet))
        return
    for name, space in supernet.cell_spaces.items():
        decisions = supernet.decisions[name]
        for edge in decisions.undecided_edges:
            decision = operation_by_magnitude(supernet, space, edge)
            decisions = decision.apply(space, decisions)
            yield decision
        for node in decisions.undecided_nodes(space):
            yield TopologyDecision(name, node, argmax_inputs(supernet, space, decisions, node))


def operation_by_magnitude(
    supernet: Supernet, space: CellSpace, edge: int, offered: Sequence[int] | None = None
) -> OperationDecision:
    """Return the decision for the operation of an edge that has the largest weight, of those offered; None: of all."""
    strengths = _strengths(supernet, space, edge)
    if offered is None or len(offered) == len(space.operations[edge]):
        return OperationDecision(space.name, edge, argmax_operation(supernet, space, edge), strengths=strengths)
    kept = next(operation for operation, _ in _ranking(supernet, space, edge) if operation in offered)
    known = tuple(strength for operation, strength in enumerate(strengths) if operation in offered)
    return OperationDecision(space.name, edge, kept, strengths=known, excluded=others(space, edge, offered))


def _strengths(supernet: Supernet, space: CellSpace, edge: int) -> tuple[Strength, ...]:
    """Return the weights of an edge's operations; nothing where there is a single one."""
    weights = supernet.relaxed(space.name)[edge, : len(space.operations[edge])].tolist()
    return tuple(map(Strength, weights)) if len(weights) > 1 else ()


def _ranking(supernet: Supernet, space: CellSpace, edge: int) -> list[tuple[int, float]]:
    """Return the operations of an edge, that with the largest weight first, each with what the edge's input weighs."""
    weights, edges = supernet.relaxed(space.name)[edge].detach(), supernet.edge_weights(space.name)
    strengths = (weights if edges is None else weights * edges[edge].detach()).tolist()
    weak = [says_weak(space, name) for name in space.operations[edge]]
    order = sorted(
        range(len(weak)), key=lambda operation: -1.0 if weak[operation] else weights[operation], reverse=True
    )
    return [(operation, -1.0 if weak[operation] else strengths[operation]) for operation in order]
