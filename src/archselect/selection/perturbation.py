"""Perturbation-based selection: an operation is as strong as the supernet is worse without it (DARTS-PT, Alg. 1)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from archselect.checks import check_choice, check_flag
from archselect.networks.cell_space import CellSpace
from archselect.networks.supernet import Supernet
from archselect.randomness import generator_for
from archselect.selection.decision import Decision, OperationDecision, TopologyDecision, TopologyRound
from archselect.selection.race import Criterion, Race
from archselect.selection.scorer import Score, Scoring
from archselect.selection.selector import ScoreAll, Tuning

Rounds = Literal["independent", "cumulative"]
Order = Literal["random"] | Sequence[int] | Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Perturbation:
    """Decide edge by edge, then node by node, and tune the supernet in between.

    At each point one undecided edge per cell type is taken. Each of its operations is masked in turn; the one whose
    removal hurts the supernet most is kept. When all edges are decided, nodes are taken likewise: while a node has too
    many inputs, the one whose removal hurts least is dropped. The defaults are the official code's behaviour.

    Attributes:
        name: Shown in folders and reports.
        operation_criterion: What "hurts" means for operations: lower `accuracy` or higher `loss`.
        topology_criterion: The same for the inputs of nodes.
        edge_order: `random`; or the numbers of the edges in the order in which they are decided, one list for all or
            one per cell type.
        node_order: `random`; or the nodes (as states), likewise.
        renormalize: Whether the other operations of an edge take over the weight of the masked one.
        topology_rounds: `independent`: an input dropped in an earlier round is back while the next round scores (the
            official code); `cumulative`: it stays out.
        score_unmasked: Whether each operation decision also scores the unmasked supernet, so that strengths can be
            read as drops.
        tuning: Training between two points.
        scoring: On what the supernet is scored.
    """

    name: str = "perturb"
    operation_criterion: Criterion = "accuracy"
    topology_criterion: Criterion = "accuracy"
    edge_order: Order = "random"
    node_order: Order = "random"
    renormalize: bool = False
    topology_rounds: Rounds = "independent"
    score_unmasked: bool = False
    tuning: Tuning = field(default_factory=Tuning)
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        check_choice("selection.operation_criterion", self.operation_criterion, get_args(Criterion))
        check_choice("selection.topology_criterion", self.topology_criterion, get_args(Criterion))
        check_choice("selection.topology_rounds", self.topology_rounds, get_args(Rounds))
        check_flag("selection.renormalize", self.renormalize)
        check_flag("selection.score_unmasked", self.score_unmasked)
        if not isinstance(self.scoring, Scoring):
            raise ValueError(
                f"selection.scoring must be a node of options; got {self.scoring!r}. To choose among the ways to score "
                "write selection/scoring=full or selection/scoring=racing, with a slash."
            )

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """See `Selector.check`."""
        if all(len(candidates) == 1 for space in cells.values() for candidates in space.operations):
            raise ValueError(
                f"selection={self.name} compares the candidate operations of an edge, but every edge of this search "
                "space has one only. "
                "Give at least one edge two candidates."
            )
        for name, space in cells.items():
            nodes = [n for n in space.topology.node_states if _chooses_inputs(space, n)]
            _check_order("edge_order", self.edge_order, cells, name, range(len(space.operations)))
            _check_order("node_order", self.node_order, cells, name, nodes)
        points = self.points(cells)
        epochs = [self.tuning.epoch_of(point, points) for point in range(points)]
        if self.tuning.epochs_between and len(set(epochs)) < points:
            raise ValueError(
                f"selection.tuning.epochs={self.tuning.epochs} is too short for {points} decision points every "
                f"{self.tuning.epochs_between} epochs: give at least {(points - 2) * self.tuning.epochs_between + 2}, "
                "or null."
            )

    def points(self, cells: Mapping[str, CellSpace]) -> int:
        """One per edge, then one per node that chooses its inputs; cell types are decided side by side."""
        return _edge_points(cells) + _node_points(cells)

    def decide(self, point: int, supernet: Supernet, score: ScoreAll, seed: int) -> Iterator[Decision]:
        """See `Selector.decide`."""
        edge_points = _edge_points(supernet.cell_spaces)
        for name, space in supernet.cell_spaces.items():
            decisions = supernet.decisions[name]
            if point < edge_points:
                undecided = decisions.undecided_edges
                if undecided and len(space.operations) - len(undecided) <= point:
                    edge = _next(self.edge_order, name, undecided, (seed, "selection", "edge", name, point))
                    yield self._decide_operation(supernet, space, edge, score)
            else:
                nodes = decisions.undecided_nodes(space)
                if nodes and len(decisions.nodes) <= point - edge_points:
                    node = _next(self.node_order, name, nodes, (seed, "selection", "node", name, point))
                    yield self._decide_inputs(supernet, space, node, score)

    def _decide_operation(self, supernet: Supernet, space: CellSpace, edge: int, score: ScoreAll) -> OperationDecision:
        candidates = range(len(space.operations[edge]))
        if len(candidates) == 1:
            return OperationDecision(space.name, edge, 0)
        weights = supernet.mixture_weights().detach()
        trials = [weights.masked(space.name, edge, operation, self.renormalize) for operation in candidates]
        race = Race(self.operation_criterion, "harmed", len(trials))
        *scores, last = score([*trials, weights] if self.score_unmasked else trials, race)
        unmasked = last if self.score_unmasked else None
        if unmasked is None:
            scores.append(last)
        # The first wins ties.
        left = [operation for operation in candidates if scores[operation].beaten_after is None]
        kept = max(left, key=lambda operation: _harm(scores[operation], self.operation_criterion))
        return OperationDecision(space.name, edge, kept, tuple(scores), unmasked)

    def _decide_inputs(self, supernet: Supernet, space: CellSpace, node: int, score: ScoreAll) -> TopologyDecision:
        decisions = supernet.decisions[space.name]
        weights = supernet.mixture_weights().detach()
        left = list(space.topology.edges_into(node))
        rounds = []
        while len(left) > space.topology.edges_kept_into(node):
            # An edge decided `none` adds nothing, so it leaves before any other; its removal needs no scoring.
            empty = [edge for edge in left if _operation(space, decisions.operations[edge], edge) == "none"]
            if empty:
                rounds.append(TopologyRound({}, empty[0]))
                left.remove(empty[0])
                continue
            race = Race(self.topology_criterion, "unharmed", len(left))
            scores = dict(zip(left, score([weights.masked(space.name, edge) for edge in left], race), strict=True))
            # The last wins ties, as in the official code.
            unbeaten = [edge for edge in reversed(left) if scores[edge].beaten_after is None]
            dropped = min(unbeaten, key=lambda edge: _harm(scores[edge], self.topology_criterion))
            rounds.append(TopologyRound(scores, dropped))
            left.remove(dropped)
            if self.topology_rounds == "cumulative":
                weights = weights.masked(space.name, dropped)
        return TopologyDecision(space.name, node, tuple(left), tuple(rounds))


def _harm(score: Score, criterion: Criterion) -> float:
    return -score.accuracy if criterion == "accuracy" else score.loss


def _operation(space: CellSpace, operation: int | None, edge: int) -> str | None:
    return None if operation is None else space.operations[edge][operation]


def _chooses_inputs(space: CellSpace, node: int) -> bool:
    return space.topology.edges_kept_into(node) < len(space.topology.edges_into(node))


def _edge_points(cells: Mapping[str, CellSpace]) -> int:
    return max(len(space.operations) for space in cells.values())


def _node_points(cells: Mapping[str, CellSpace]) -> int:
    return max(sum(_chooses_inputs(space, n) for n in space.topology.node_states) for space in cells.values())


def _next(order: Order, cell: str, undecided: Sequence[int], purpose: tuple[int | str, ...]) -> int:
    if order == "random":
        return undecided[int(torch.randint(len(undecided), (), generator=generator_for(*purpose)))]
    given = order[cell] if isinstance(order, Mapping) else order
    return next(int(number) for number in given if number in undecided)


def _check_order(option: str, order: Order, cells: Collection[str], cell: str, expected: Sequence[int]) -> None:
    if order == "random":
        return
    if isinstance(order, Mapping) and (unknown := sorted(set(order) - set(cells))):
        raise ValueError(
            f"selection.{option} names the cell types {unknown}, but this search space has {sorted(cells)}. Name these."
        )
    given = order.get(cell) if isinstance(order, Mapping) else order
    numbers = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if len(numbers) != len(expected) or any(number not in numbers for number in expected):
        raise ValueError(
            f"selection.{option} must be random or, for the {cell} cell, contain each of {list(expected)} once; got "
            f"{given!r}."
        )
