"""The inputs that a node keeps: the others are removed one by one (the second loop of DARTS-PT, Algorithm 1)."""

from collections.abc import Callable, Mapping
from typing import Literal

from archselect.models.cell_space import CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import SupernetEvaluator
from archselect.selection.decisions import TopologyDecision, TopologyRound
from archselect.selection.scoring import Criterion, SuccessiveElimination, perturbation_loss

Rounds = Literal["independent", "cumulative"]

LeastMissed = Callable[[Mapping[int, MixtureWeights]], TopologyRound]
"""From in-edge -> mixture weights without it to the round in which the edge that is missed least is dropped."""


def inputs_to_keep(
    supernet: Supernet, space: CellSpace, node: int, least_missed: LeastMissed, rounds: Rounds
) -> TopologyDecision:
    """Drop the input that is missed least while the node has too many.

    Args:
        supernet: With all edges decided.
        space: The cell type.
        node: As a state.
        least_missed: Says which one that is.
        rounds: `independent`: an input dropped in an earlier round is back while the next round is judged (the official
            code); `cumulative`: it stays out.
    """
    decisions = supernet.decisions[space.name]
    weights = supernet.mixture_weights().detach()
    left = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
    made = []
    while len(left) > space.topology.edges_kept_into(node):
        # An edge decided `none` adds nothing, so it leaves before any other; its removal needs no scoring.
        empty = [edge for edge in left if _is_none(space, edge, decisions.operations[edge])]
        if empty:
            made.append(TopologyRound({}, empty[0]))
        else:
            made.append(least_missed({edge: weights.masked(space.name, edge) for edge in left}))
            if rounds == "cumulative":
                weights = weights.masked(space.name, made[-1].dropped)
        left.remove(made[-1].dropped)
    return TopologyDecision(space.name, node, tuple(left), tuple(made))


def _is_none(space: CellSpace, edge: int, operation: int | None) -> bool:
    return operation is not None and space.operations[edge][operation] == "none"


def by_score(evaluator: SupernetEvaluator, criterion: Criterion) -> LeastMissed:
    """Return the judgement by accuracy or loss of the supernet without an edge."""

    def least_missed(without: Mapping[int, MixtureWeights]) -> TopologyRound:
        elimination = SuccessiveElimination(criterion, "min", len(without))
        scores = dict(zip(without, evaluator.score(list(without.values()), elimination), strict=True))
        # The last wins ties, as in the official code.
        running = [edge for edge in reversed(list(without)) if scores[edge].eliminated_after is None]
        return TopologyRound(scores, min(running, key=lambda edge: perturbation_loss(scores[edge], criterion)))

    return least_missed
