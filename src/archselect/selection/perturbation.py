"""Perturbation-based selection: an operation is as strong as the supernet is worse without it (DARTS-PT, Alg. 1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import (
    DecisionStep,
    SupernetEvaluator,
    Tuning,
    check_candidates,
    check_no_strengths,
    check_scoring_node,
)
from archselect.selection.decisions import Decision, OperationDecision, Strength
from archselect.selection.magnitude import operation_by_magnitude
from archselect.selection.schedule import (
    EdgeOrder,
    NodeOrder,
    check_edge_order,
    check_node_order,
    edge_is_due,
    edge_points,
    next_edge,
    next_of,
    node_is_due,
    node_points,
)
from archselect.selection.scoring import Criterion, Score, Scoring, SuccessiveElimination, standard_error_of_difference
from archselect.selection.topology import Rounds, by_score, decide_inputs, perturbation_loss
from archselect.utils.validation import FLAG, check_options, one_of

OperationRule = Literal["perturbation", "magnitude", "random"]


@dataclass(frozen=True)
class Perturbation:
    """Decide edge by edge, then node by node, and tune the supernet in between.

    At each point one undecided edge per cell type is taken. Each of its operations is masked in turn; the one whose
    removal hurts the supernet most is kept. When all edges are decided, nodes are taken likewise: while a node has too
    many inputs, the one whose removal hurts least is dropped. The defaults are the official code's behaviour.

    Attributes:
        name: Shown in folders and reports.
        operation_rule: `perturbation`; or, with everything else as it is, the operation with the largest weight
            (`magnitude`: the paper's ablation PT-Mag, Fig. 6) or any (`random`).
        operation_criterion: What "hurts" means for operations: lower `accuracy` or higher `loss`.
        topology_criterion: The same for the inputs of nodes.
        edge_order: See `EdgeOrder`.
        node_order: `random`; or the nodes (as states) in the order in which they are decided, one list for all or one
            per cell type.
        renormalize: Whether the other operations of an edge take over the weight of the masked one.
        topology_rounds: `independent`: an input dropped in an earlier round is back while the next round scores (the
            official code); `cumulative`: it stays out.
        score_unmasked: Whether each operation decision also scores the unmasked supernet, so that strengths can be
            read as drops.
        report_strengths: Whether the strengths of the operations are shown; scores the unmasked supernet too.
        tuning: Training between two points.
        scoring: On what the supernet is scored.
    """

    name: str = "perturb"
    operation_rule: OperationRule = "perturbation"
    operation_criterion: Criterion = "accuracy"
    topology_criterion: Criterion = "accuracy"
    edge_order: EdgeOrder = "random"
    node_order: NodeOrder = "random"
    renormalize: bool = False
    topology_rounds: Rounds = "independent"
    score_unmasked: bool = False
    report_strengths: bool = False
    tuning: Tuning = field(default_factory=Tuning)
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        one_of(get_args(OperationRule)).check("selection.operation_rule", self.operation_rule)
        one_of(get_args(Criterion)).check("selection.operation_criterion", self.operation_criterion)
        one_of(get_args(Criterion)).check("selection.topology_criterion", self.topology_criterion)
        one_of(get_args(Rounds)).check("selection.topology_rounds", self.topology_rounds)
        FLAG.check("selection.renormalize", self.renormalize)
        FLAG.check("selection.score_unmasked", self.score_unmasked)
        FLAG.check("selection.report_strengths", self.report_strengths)
        if self.score_unmasked and not self.needs_candidates:
            raise ValueError(
                "selection.score_unmasked=true scores the supernet beside those with an operation masked, but with "
                f"selection.operation_rule={self.operation_rule} none is masked. Leave it out."
            )
        if self.operation_rule == "random":
            check_no_strengths(self.name, self.report_strengths)
        check_scoring_node(self.scoring)
        check_options("selection.tuning", self.tuning, Tuning)
        if self.edge_order == "global" and self.operation_rule != "perturbation":
            raise ValueError(
                f"selection.edge_order=global compares the harm that masking does, but selection.operation_rule is "
                f"{self.operation_rule}. Use another order, or operation_rule=perturbation."
            )

    @property
    def needs_candidates(self) -> bool:
        """See `Selector.needs_candidates`."""
        return self.operation_rule == "perturbation"

    @property
    def needs_trained_alpha(self) -> bool:
        """See `Selector.needs_trained_alpha`."""
        return self.operation_rule == "magnitude" or self.edge_order == "entropy"

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """See `Selector.check`."""
        if self.needs_candidates:
            check_candidates(self.name, cells)
        for name in cells:
            check_edge_order(self.edge_order, cells, name)
            check_node_order(self.node_order, cells, name)
        points = self.points(cells)
        epochs = [self.tuning.epoch_of(point, points) for point in range(points)]
        if self.tuning.epochs_between and len(set(epochs)) < points:
            raise ValueError(
                f"selection.tuning.epochs={self.tuning.epochs} is too short for {points} decision points every "
                f"{self.tuning.epochs_between} epochs: give at least {(points - 2) * self.tuning.epochs_between + 2}, "
                "or null."
            )

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """One per edge, then one per node that chooses its inputs; cell types are decided side by side."""
        return edge_points(cells, decided) + node_points(cells, decided)

    def decide(
        self, point: DecisionStep, supernet: Supernet, trials: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """See `Selector.decide`."""
        for name, space in supernet.cell_spaces.items():
            if edge_is_due(supernet, name, point):
                yield self._decide_edge(supernet, space, trials, (seed, "selection", "edge", name, point.number))
            elif node_is_due(supernet, name, point):
                nodes = supernet.decisions[name].undecided_nodes(space)
                node = next_of(self.node_order, name, nodes, (seed, "selection", "node", name, point.number))
                least_harm = by_score(trials, self.topology_criterion)
                yield decide_inputs(supernet, space, node, least_harm, self.topology_rounds)

    def _decide_edge(
        self, supernet: Supernet, space: CellSpace, trials: SupernetEvaluator, rng_key: tuple[int | str, ...]
    ) -> OperationDecision:
        if self.edge_order == "global":
            undecided = supernet.decisions[space.name].undecided_edges
            decisions = [self._by_perturbation(supernet, space, edge, trials, raced=False) for edge in undecided]
            return max(decisions, key=lambda decision: self._margin(decision.scores))
        edge = next_edge(self.edge_order, supernet, space.name, trials, rng_key)
        if self.operation_rule == "perturbation":
            return self._by_perturbation(supernet, space, edge, trials)
        if self.operation_rule == "magnitude":
            return operation_by_magnitude(supernet, space, edge)
        candidates = len(space.operations[edge])
        operation = int(torch.randint(candidates, (), generator=generator_for(*rng_key, "operation")))
        return OperationDecision(space.name, edge, operation)

    def _by_perturbation(
        self, supernet: Supernet, space: CellSpace, edge: int, trials: SupernetEvaluator, raced: bool = True
    ) -> OperationDecision:
        candidates = range(len(space.operations[edge]))
        if len(candidates) == 1:
            return OperationDecision(space.name, edge, 0)
        weights = supernet.mixture_weights().detach()
        without = [weights.masked(space.name, edge, operation, self.renormalize) for operation in candidates]
        scored = [*without, weights] if self.score_unmasked or self.report_strengths else without
        race = SuccessiveElimination(self.operation_criterion, "harmed", len(without)) if raced else None
        scores = trials.score(scored, race)
        unmasked = scores[-1] if len(scores) > len(without) else None
        scores = scores[: len(without)]
        # The first wins ties.
        left = [operation for operation in candidates if scores[operation].beaten_after is None]
        kept = max(left, key=lambda operation: perturbation_loss(scores[operation], self.operation_criterion))
        strengths = tuple(self._strength(score, unmasked) for score in scores) if unmasked else ()
        return OperationDecision(space.name, edge, kept, tuple(scores), unmasked, strengths)

    def _strength(self, masked: Score, unmasked: Score) -> Strength:
        """Return how much worse the supernet is without an operation."""
        drop = perturbation_loss(masked, self.operation_criterion) - perturbation_loss(
            unmasked, self.operation_criterion
        )
        column = get_args(Criterion).index(self.operation_criterion)
        return Strength(drop, standard_error_of_difference(masked, unmasked, column))

    def _margin(self, scores: tuple[Score, ...]) -> float:
        """Return by how much the best operation stands out; edges with a single candidate come first."""
        harms = sorted((perturbation_loss(score, self.operation_criterion) for score in scores), reverse=True)
        return harms[0] - harms[1] if harms else float("inf")
