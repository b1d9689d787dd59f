"""Selection by Shapley values: an operation is as strong as it is missed, whatever else has gone (Shapley-NAS).

Xiao et al., CVPR 2022, arXiv 2206.09811. There the values drive `alpha` in the second half of the search; here they are
computed once, on the finished supernet, and decide.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import NamedTuple, TypeVar

import torch

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet, says_weak
from archselect.selection.base import DecisionStep, Evaluator, Selector, check_unraced
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.scoring import Criterion, Scoring, perturbation_loss
from archselect.selection.strongest import strongest_within
from archselect.tasks import Task
from archselect.utils.validation import Fraction, PositiveInt

P = TypeVar("P", bound=Hashable)


def shapley_values(
    players: Sequence[P],
    worths: Callable[[Sequence[frozenset[P]]], Sequence[float]],
    permutations: int,
    rng_key: tuple[int | str, ...],
    truncation: float | None = None,
) -> dict[P, Strength]:
    """Return the Shapley value of each player, estimated from random permutations (Castro et al. 2009).

    In every permutation the players leave the full coalition one after another. What the worth falls by when a player
    leaves is its contribution; the value is the mean contribution. In a permutation that is not truncated the
    contributions sum to the worth of the full coalition less that of the empty one.

    Args:
        players: Who plays.
        worths: The worths of several coalitions at once. All permutations advance side by side, a player at a time, and
            no coalition is asked for twice.
        permutations: How many; the standard errors are those of means over them.
        rng_key: What the permutations are derived from; the first ten of twenty are the ten.
        truncation: As soon as what is left is worth less than this share of the full coalition, those who are still in
            contribute nothing in this permutation; the one whose leaving brought it there does (as in the official
            code). None: every permutation is played to its end.
    """
    if not players:
        return {}
    everyone = frozenset(players)
    known = {everyone: worths([everyone])[0]}
    least = -inf if truncation is None else truncation * known[everyone]
    generators = [generator_for(*rng_key, number) for number in range(permutations)]
    orders = [torch.randperm(len(players), generator=generator).tolist() for generator in generators]
    left = [everyone] * permutations
    contributions = {player: [0.0] * permutations for player in players}
    for leaving in zip(*orders, strict=True):
        then = {
            number: (players[index], left[number] - {players[index]})
            for number, index in enumerate(leaving)
            if known[left[number]] >= least
        }
        new = [coalition for coalition in dict.fromkeys(after for _, after in then.values()) if coalition not in known]
        known.update(zip(new, worths(new) if new else (), strict=True))
        for number, (player, coalition) in then.items():
            contributions[player][number] = known[left[number]] - known[coalition]
            left[number] = coalition
    return {player: Strength.mean(seen) for player, seen in contributions.items()}


class Player(NamedTuple):
    """A candidate operation of an edge that is not decided yet."""

    cell: str
    edge: int
    operation: int


@dataclass(frozen=True)
class Shapley(Selector):
    """Keep on every edge the operation with the largest Shapley value, and the in-edges whose kept ones are largest.

    All candidates of all undecided edges, of all cell types together, play one game; a coalition is worth what the
    supernet scores with the others masked, not renormalised. `none` is a candidate like another: it adds nothing to an
    edge, so its value is 0, and it is kept where all others do harm. An edge without a value, because it has one
    candidate or was decided before, is kept before the others; one on which `none` was kept goes first, where nodes
    choose their inputs.

    The values are means. The official code subtracts one standard deviation over the permutations, and draws
    another scoring batch for each of them.
    """

    name: str = "shapley"
    permutations: PositiveInt = 10
    truncation: Fraction | None = 0.5
    criterion: Criterion = "metric"
    report_strengths: bool = False
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unraced(self.name, self.scoring)
        if self.truncation is not None and self.criterion == "loss":
            raise ValueError(
                f"selection.truncation={self.truncation} is a share of the full supernet's worth, but with "
                "selection.criterion=loss the worth is negative. Use truncation=null, or criterion=metric."
            )

    def check_task(self, task: Task) -> None:
        if self.truncation is not None and task.mode == "min":
            raise ValueError(
                f"selection.truncation={self.truncation} is a share of the full supernet's worth, but task={task.name} "
                f"is judged by {task.metric}, the lower the better, so the worth is negative. Use truncation=null."
            )

    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
        """Play the game once, on the supernet as it stands when the first decision is asked for, and decide all."""
        values = self.values(supernet, evaluator, seed)
        if self.budget is not None:
            yield from strongest_within(self.budget, supernet, partial(_ranking, values), partial(_strengths, values))
            return
        for name, space in supernet.cell_spaces.items():
            for edge in supernet.decisions[name].undecided_edges:
                strengths = _strengths(values, space, edge)
                operations = range(len(strengths))
                best = max(operations, key=lambda index: strengths[index].value, default=0)  # the first wins ties
                yield OperationDecision(name, edge, best, strengths=strengths)
            for node in supernet.decisions[name].undecided_nodes(space):
                yield _inputs_to_keep(space, supernet.decisions[name], node, values)

    def values(self, supernet: Supernet, evaluator: Evaluator, seed: int) -> dict[Player, Strength]:
        """Return the value of every candidate of the undecided edges that have two or more."""
        players = [
            player
            for name, space in supernet.cell_spaces.items()
            for edge in supernet.decisions[name].undecided_edges
            for player in players_on(space, edge)
        ]
        weights, everyone = supernet.mixture_weights().detach(), frozenset(players)

        def worths(coalitions: Sequence[frozenset[Player]]) -> list[float]:
            scores = evaluator.score([_without(weights, everyone - coalition) for coalition in coalitions])
            return [-perturbation_loss(score, self.criterion) for score in scores]

        return shapley_values(players, worths, self.permutations, (seed, "selection", "shapley"), self.truncation)


def players_on(space: CellSpace, edge: int) -> list[Player]:
    """Return the players of an edge; one with a single candidate has none."""
    candidates = len(space.operations[edge])
    return [Player(space.name, edge, operation) for operation in range(candidates)] if candidates > 1 else []


def _without(weights: MixtureWeights, absent: Iterable[Player]) -> MixtureWeights:
    """Return the weights with those of the absent players set to zero; cell types that miss none stay the same."""
    for player in absent:
        weights = weights.masked(*player)
    return weights


def _strengths(values: Mapping[Player, Strength], space: CellSpace, edge: int) -> tuple[Strength, ...]:
    return tuple(values[player] for player in players_on(space, edge) if player in values)


def _ranking(values: Mapping[Player, Strength], space: CellSpace, edge: int) -> list[tuple[int, float]]:
    """Return the operations of an edge, the most valuable first, each with how strong an input the edge is with it."""
    names = space.operations[edge]
    found = [values.get(Player(space.name, edge, index), Strength(inf)).value for index in range(len(names))]
    order = sorted(range(len(names)), key=found.__getitem__, reverse=True)
    return [(index, -inf if says_weak(space, names[index]) else found[index]) for index in order]


def _inputs_to_keep(
    space: CellSpace, decisions: CellDecisions, node: int, values: Mapping[Player, Strength]
) -> TopologyDecision:
    def strength(edge: int) -> float:
        operation = decisions.operations[edge]
        assert operation is not None, "nodes come after edges"
        if space.operations[edge][operation] == "none":
            return -inf
        return values.get(Player(space.name, edge, operation), Strength(inf)).value

    into = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
    keep = sorted(into, key=strength, reverse=True)[: space.topology.edges_kept_into(node)]
    return TopologyDecision(space.name, node, tuple(sorted(keep)))
