r"""Perturbation-based architecture selection (DARTS-PT, Wang et al., ICLR 2021, sec. 4.2, Algorithm 1).

    Input: a pretrained supernet S, the set of its edges E, the set of its nodes N
    while |E| > 0:
        randomly select an edge e from E, and remove it from E                     next_edge
        for each operation o on edge e:
            evaluate the validation accuracy of S when o is removed (ACC\o)
        select the operation of e: o* = argmin_o ACC\o                             operation_to_keep
        discretise edge e to o*, and tune S for a few epochs until it converges
    while |N| > 0:
        randomly select a node n from N, and remove it from N                      next_node
        for each input edge e of n:
            evaluate the validation accuracy of S when e is removed (ACC\e)
        keep the edges of n with the largest drops of accuracy                     inputs_to_keep
        tune S for a few epochs until it converges

`steps` lists the passes of the two loops once, each with the epochs of tuning that follow it; the selection stage
(`pipeline/selection_stage.py`) goes through the list: decide a step, apply its decisions, tune. As in the official code
(`sota/cnn/projection.py`), a step decides one edge, or the inputs of one node, of every cell type.

`ProgressiveSelector` holds the loops, `Perturbation` what the paper evaluates in them.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, Literal, get_args

from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import (
    Cells,
    Cost,
    DecisionStep,
    Evaluator,
    Selector,
    Tuning,
    check_scoring,
    choices,
    others,
)
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision, TopologyRound
from archselect.selection.limit import without_edge
from archselect.selection.magnitude import operation_by_magnitude
from archselect.selection.random_choice import random_operation
from archselect.selection.schedule import (
    EdgeOrder,
    NamedEdgeOrder,
    NodeOrder,
    RngKey,
    check_order,
    next_edge,
    next_node,
    progressive_steps,
)
from archselect.selection.scoring import (
    Criterion,
    Score,
    Scoring,
    SuccessiveElimination,
    perturbation_loss,
    standard_error_of_difference,
)
from archselect.utils.validation import check_options

Without = Mapping[int, MixtureWeights]
"""In-edge of a node -> the mixture weights without it."""


@dataclass(frozen=True)
class ProgressiveSelector(Selector):
    """Decides edge by edge, then node by node: the two loops of Algorithm 1."""

    edge_orders: ClassVar[Sequence[str]] = get_args(NamedEdgeOrder)  # the names that `edge_order` may have
    edge_order: EdgeOrder = "random"
    node_order: NodeOrder = "random"
    topology_rounds: Literal["independent", "cumulative"] = "independent"
    report_strengths: bool = False
    scoring: Scoring = field(default_factory=Scoring)

    def steps(self, cells: Cells, decided: Mapping[str, CellDecisions] | None = None) -> list[DecisionStep]:
        return progressive_steps(cells, decided, self.tuning)

    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
        for cell in step.cells:
            if step.kind == "operation":  # while |E| > 0
                yield self.decide_edge(supernet, cell, evaluator, (seed, "selection", "edge", cell, step.number))
            else:  # while |N| > 0
                node = next_node(self.node_order, supernet, cell, (seed, "selection", "node", cell, step.number))
                yield self.inputs_to_keep(supernet, cell, node, evaluator)

    def decide_edge(self, supernet: Supernet, cell: str, evaluator: Evaluator, rng_key: RngKey) -> OperationDecision:
        """Select an edge and the operation that it keeps."""
        edge = next_edge(self.edge_order, supernet, cell, evaluator, rng_key)
        return self.operation_to_keep(supernet, cell, edge, evaluator)

    @abstractmethod
    def operation_to_keep(self, supernet: Supernet, cell: str, edge: int, evaluator: Evaluator) -> OperationDecision:
        """Select the operation of an edge."""

    def inputs_to_keep(self, supernet: Supernet, cell: str, node: int, evaluator: Evaluator) -> TopologyDecision:
        """Drop the input of a node that is missed least, until it has as many as it may keep."""
        space, decisions = supernet.cell_spaces[cell], supernet.decisions[cell]
        weights = supernet.mixture_weights().detach()
        left = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
        # An edge decided `none` adds nothing, so it leaves before any other; its removal needs no scoring.
        operations = enumerate(decisions.operations)
        empty = [edge for edge, kept in operations if kept is not None and space.operations[edge][kept] == "none"]
        rounds = []
        while len(left) > space.topology.edges_kept_into(node):
            droppable = self._droppable(supernet, cell, decisions, left)
            first_empty = next((edge for edge in droppable if edge in empty), None)
            if first_empty is not None:
                rounds.append(TopologyRound({}, first_empty))
            else:
                without = {edge: weights.masked(cell, edge) for edge in droppable}
                only = TopologyRound({}, droppable[0])
                rounds.append(self.least_missed(without, supernet, evaluator) if len(without) > 1 else only)
                if self.topology_rounds == "cumulative":
                    weights = without[rounds[-1].dropped]
            left.remove(rounds[-1].dropped)
            decisions = without_edge(decisions, rounds[-1].dropped)
        return TopologyDecision(cell, node, tuple(left), tuple(rounds), self.excluded_inputs(supernet, cell, node))

    def _droppable(self, supernet: Supernet, cell: str, decisions: CellDecisions, edges: list[int]) -> list[int]:
        """Return the in-edges of a node among which to choose what it drops: all that the limit leaves."""
        if self.budget is None:
            return edges
        return self.budget.droppable({**supernet.decisions, cell: decisions}, cell, edges)

    @abstractmethod
    def least_missed(self, without: Without, supernet: Supernet, evaluator: Evaluator) -> TopologyRound:
        """Drop one of the in-edges."""

    def check(self, cells: Cells) -> None:
        super().check(cells)
        edges = {name: range(len(space.operations)) for name, space in cells.items()}
        nodes = {name: CellDecisions.none(space).undecided_nodes(space) for name, space in cells.items()}
        check_order("edge_order", self.edge_order, edges, self.edge_orders)
        check_order("node_order", self.node_order, nodes, ("random",))


@dataclass(frozen=True)
class Perturbation(ProgressiveSelector):
    """Algorithm 1: an operation, or an input, is missed as much as the supernet is worse without it.

    On an edge the operation is kept that is missed most; a node with too many inputs drops the one that is missed
    least. The defaults are the official code's behaviour.
    """

    name: str = "perturb"
    operation_rule: Literal["perturbation", "magnitude", "random"] = "perturbation"
    operation_criterion: Criterion = "metric"
    topology_criterion: Criterion = "metric"
    renormalize: bool = False
    score_unmasked: bool = False
    tuning: Tuning = field(default_factory=Tuning)

    def operation_to_keep(self, supernet: Supernet, cell: str, edge: int, evaluator: Evaluator) -> OperationDecision:
        operations = self.offered(supernet, cell, edge)
        excluded = others(supernet.cell_spaces[cell], edge, operations)
        if len(operations) == 1:
            return OperationDecision(cell, edge, operations[0], excluded=excluded)
        weights = supernet.mixture_weights().detach()
        without = [weights.masked(cell, edge, operation, self.renormalize) for operation in operations]
        if self.score_unmasked or self.report_strengths:
            without.append(weights)
        elimination = SuccessiveElimination(self.operation_criterion, "max", len(operations))
        scores = evaluator.score(without, None if self.edge_order == "global" else elimination)
        unmasked = scores.pop() if len(scores) > len(operations) else None
        running = [index for index, score in enumerate(scores) if score.eliminated_after is None]
        kept = operations[max(running, key=lambda index: self._loss(scores[index]))]  # the first wins ties
        strengths = tuple(self._strength(score, unmasked) for score in scores) if unmasked else ()
        return OperationDecision(cell, edge, kept, tuple(scores), unmasked, strengths, excluded=excluded)

    def least_missed(self, without: Without, supernet: Supernet, evaluator: Evaluator) -> TopologyRound:
        return least_missed_by_score(without, evaluator, self.topology_criterion)

    def decide_edge(self, supernet: Supernet, cell: str, evaluator: Evaluator, rng_key: RngKey) -> OperationDecision:
        """Select an edge and the operation that it keeps, where an option asks for it not as Algorithm 1 does."""
        if self.edge_order == "global":
            undecided = supernet.decisions[cell].undecided_edges
            decisions = [self.operation_to_keep(supernet, cell, edge, evaluator) for edge in undecided]
            return max(decisions, key=self._margin)
        if self.operation_rule == "perturbation":
            return super().decide_edge(supernet, cell, evaluator, rng_key)
        space, edge = supernet.cell_spaces[cell], next_edge(self.edge_order, supernet, cell, evaluator, rng_key)
        offered = self.offered(supernet, cell, edge)
        if self.operation_rule == "magnitude":
            return operation_by_magnitude(supernet, space, edge, offered)
        return random_operation(space, edge, (*rng_key, "operation"), offered)

    def _loss(self, score: Score) -> float:
        return perturbation_loss(score, self.operation_criterion)

    def _strength(self, masked: Score, unmasked: Score) -> Strength:
        """Return how much worse the supernet is without an operation."""
        column = get_args(Criterion).index(self.operation_criterion)
        error = standard_error_of_difference(masked, unmasked, column)
        return Strength(self._loss(masked) - self._loss(unmasked), error)

    def _margin(self, decision: OperationDecision) -> float:
        """Return by how much the best operation stands out; edges with a single candidate come first."""
        losses = sorted(map(self._loss, decision.scores), reverse=True)
        return losses[0] - losses[1] if losses else inf

    @property
    def needs_candidates(self) -> bool:
        return self.operation_rule == "perturbation"

    @property
    def needs_trained_alpha(self) -> bool:
        return self.operation_rule == "magnitude" or self.edge_order == "entropy"

    def cost(self, cells: Cells) -> Cost:
        return super().cost(cells)._replace(candidates=choices(cells) if self.needs_candidates else 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scoring(self.scoring)
        check_options("selection.tuning", self.tuning, Tuning)
        if self.score_unmasked and not self.needs_candidates:
            raise ValueError(
                "selection.score_unmasked=true scores the supernet beside those with an operation masked, but with "
                f"selection.operation_rule={self.operation_rule} none is masked. Leave it out."
            )
        if self.report_strengths and self.operation_rule == "random":
            raise ValueError(
                "selection.report_strengths=true shows what a selection takes the strength of an operation to be, but "
                f"selection={self.name} draws at random. Leave it out."
            )
        if self.edge_order == "global" and not self.needs_candidates:
            raise ValueError(
                f"selection.edge_order=global compares the harm that masking does, but selection.operation_rule is "
                f"{self.operation_rule}. Use another order, or operation_rule=perturbation."
            )

    def check(self, cells: Cells) -> None:
        super().check(cells)
        steps, between = self.steps(cells), self.tuning.epochs_between
        if between and not all(step.epochs for step in steps):
            raise ValueError(
                f"selection.tuning.epochs={self.tuning.epochs} is too short for {len(steps)} decision steps every "
                f"{between} epochs: give at least {(len(steps) - 2) * between + 2}, or null."
            )


def least_missed_by_score(without: Without, evaluator: Evaluator, criterion: Criterion) -> TopologyRound:
    """Drop the in-edge without which the supernet scores best; of equals the last, as in the official code."""
    elimination = SuccessiveElimination(criterion, "min", len(without))
    scores = dict(zip(without, evaluator.score(list(without.values()), elimination), strict=True))
    running = [edge for edge in reversed(scores) if scores[edge].eliminated_after is None]
    return TopologyRound(scores, min(running, key=lambda edge: perturbation_loss(scores[edge], criterion)))
