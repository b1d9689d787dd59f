"""The inputs of a node, dropped one by one: the last step of a progressive selection (DARTS-PT, Alg. 1, topology)."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from archselect.models.cell_space import CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import SupernetEvaluator
from archselect.selection.decisions import TopologyDecision, TopologyRound
from archselect.selection.scoring import Criterion, Score, SuccessiveElimination

Rounds = Literal["independent", "cumulative"]


class LeastHarm(Protocol):
    """Says which of several in-edges is missed least."""

    def __call__(self, without: Mapping[int, MixtureWeights]) -> TopologyRound:
        """Return the round, given for each edge the mixture weights without it."""
        ...


def decide_inputs(
    supernet: Supernet, space: CellSpace, node: int, least_harm: LeastHarm, rounds: Rounds
) -> TopologyDecision:
    """Drop the input that is missed least while the node has too many.

    Args:
        supernet: With all edges decided.
        space: The cell type.
        node: As a state.
        least_harm: Says which one that is.
        rounds: `independent`: an input dropped in an earlier round is back while the next round is judged (the official
            code); `cumulative`: it stays out.
    """
    decisions = supernet.decisions[space.name]
    weights = supernet.mixture_weights().detach()
    left = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
    made = []
    while len(left) > space.topology.edges_kept_into(node):
        # An edge decided `none` adds nothing, so it leaves before any other; its removal needs no scoring.
        empty = [edge for edge in left if _operation(space, decisions.operations[edge], edge) == "none"]
        if empty:
            made.append(TopologyRound({}, empty[0]))
        else:
            made.append(least_harm({edge: weights.masked(space.name, edge) for edge in left}))
            if rounds == "cumulative":
                weights = weights.masked(space.name, made[-1].dropped)
        left.remove(made[-1].dropped)
    return TopologyDecision(space.name, node, tuple(left), tuple(made))


def by_score(trials: SupernetEvaluator, criterion: Criterion) -> LeastHarm:
    """Return the judgement by accuracy or loss of the supernet without an edge."""

    def least_harm(without: Mapping[int, MixtureWeights]) -> TopologyRound:
        race = SuccessiveElimination(criterion, "unharmed", len(without))
        scores = dict(zip(without, trials.score(list(without.values()), race), strict=True))
        # The last wins ties, as in the official code.
        unbeaten = [edge for edge in reversed(list(without)) if scores[edge].beaten_after is None]
        return TopologyRound(scores, min(unbeaten, key=lambda edge: perturbation_loss(scores[edge], criterion)))

    return least_harm


def by_value(values: Sequence[float]) -> int:
    """Return the index of the smallest value; the last wins ties."""
    return min(reversed(range(len(values))), key=lambda index: values[index])


def perturbation_loss(score: Score, criterion: Criterion) -> float:
    """Return how bad a score is: larger is worse."""
    return -score.accuracy if criterion == "accuracy" else score.loss


def _operation(space: CellSpace, operation: int | None, edge: int) -> str | None:
    return None if operation is None else space.operations[edge][operation]
