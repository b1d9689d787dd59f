r"""Perturbation-based architecture selection (DARTS-PT, Wang et al., ICLR 2021, sec. 4.2, Algorithm 1).

    Input: a pretrained supernet S, the set of its edges E, the set of its nodes N
    while |E| > 0:
        randomly select an edge e from E, and remove it from E
        for each operation o on edge e:
            evaluate the validation accuracy of S when o is removed (ACC\o)
        select the operation of e: o* = argmin_o ACC\o                             _operation_to_keep
        discretise edge e to o*, and tune S for a few epochs until it converges
    while |N| > 0:
        randomly select a node n from N, and remove it from N
        for each input edge e of n:
            evaluate the validation accuracy of S when e is removed (ACC\e)
        keep the edges of n with the largest drops of accuracy                     _inputs_to_keep
        tune S for a few epochs until it converges

`steps` lists the passes of the two loops once, each with the epochs of tuning that follow it; the selection stage
(`pipeline/selection_stage.py`) goes through the list: decide a step, apply its decisions, tune. As in the official code
(`sota/cnn/projection.py`), a step decides one edge, or the inputs of one node, of every cell type.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Cost, Selector, SupernetEvaluator, check_scoring, choices
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.edge_order import (
    EdgeOrder,
    NodeOrder,
    RngKey,
    check_edge_order,
    check_node_order,
    next_edge,
    next_node,
)
from archselect.selection.magnitude import operation_by_magnitude
from archselect.selection.schedule import DecisionStep, Tuning, progressive_steps
from archselect.selection.scoring import (
    Criterion,
    Score,
    Scoring,
    SuccessiveElimination,
    perturbation_loss,
    standard_error_of_difference,
)
from archselect.selection.topology import Rounds, by_score, inputs_to_keep
from archselect.utils.validation import check_options


@dataclass(frozen=True)
class Perturbation(Selector):
    """Decide edge by edge, then node by node, and tune the supernet in between.

    On an edge the operation is kept whose removal hurts the supernet most; a node with too many inputs drops the one
    whose removal hurts least. The defaults are the official code's behaviour.

    Attributes:
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
    """

    name: str = "perturb"
    operation_rule: Literal["perturbation", "magnitude", "random"] = "perturbation"
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

    def steps(
        self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None
    ) -> list[DecisionStep]:
        return progressive_steps(cells, decided, self.tuning)

    def decide(
        self, step: DecisionStep, supernet: Supernet, evaluator: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        for cell in step.cells:
            if step.kind == "operation":
                yield self._decide_edge(supernet, cell, evaluator, (seed, "selection", "edge", cell, step.number))
            else:
                node = next_node(self.node_order, supernet, cell, (seed, "selection", "node", cell, step.number))
                yield self._inputs_to_keep(supernet, cell, node, evaluator)

    def _decide_edge(
        self, supernet: Supernet, cell: str, evaluator: SupernetEvaluator, rng_key: RngKey
    ) -> OperationDecision:
        """Select an edge and the operation that it keeps."""
        if self.edge_order == "global":
            undecided = supernet.decisions[cell].undecided_edges
            decisions = [self._operation_to_keep(supernet, cell, edge, evaluator, race=False) for edge in undecided]
            return max(decisions, key=self._margin)
        edge = next_edge(self.edge_order, supernet, cell, evaluator, rng_key)
        if self.operation_rule == "perturbation":
            return self._operation_to_keep(supernet, cell, edge, evaluator)
        space = supernet.cell_spaces[cell]
        if self.operation_rule == "magnitude":
            return operation_by_magnitude(supernet, space, edge)
        generator = generator_for(*rng_key, "operation")
        return OperationDecision(cell, edge, int(torch.randint(len(space.operations[edge]), (), generator=generator)))

    def _operation_to_keep(
        self, supernet: Supernet, cell: str, edge: int, evaluator: SupernetEvaluator, race: bool = True
    ) -> OperationDecision:
        """Keep the operation of an edge without which the supernet is worst."""
        operations = range(len(supernet.cell_spaces[cell].operations[edge]))
        if len(operations) == 1:
            return OperationDecision(cell, edge, 0)
        weights = supernet.mixture_weights().detach()
        without = [weights.masked(cell, edge, operation, self.renormalize) for operation in operations]
        if self.score_unmasked or self.report_strengths:
            without.append(weights)
        elimination = SuccessiveElimination(self.operation_criterion, "max", len(operations)) if race else None
        scores = evaluator.score(without, elimination)
        unmasked = scores.pop() if len(scores) > len(operations) else None
        running = [operation for operation in operations if scores[operation].eliminated_after is None]
        kept = max(running, key=lambda operation: self._loss(scores[operation]))  # the first wins ties
        strengths = tuple(self._strength(score, unmasked) for score in scores) if unmasked else ()
        return OperationDecision(cell, edge, kept, tuple(scores), unmasked, strengths)

    def _inputs_to_keep(
        self, supernet: Supernet, cell: str, node: int, evaluator: SupernetEvaluator
    ) -> TopologyDecision:
        """Drop the input of a node without which the supernet is best, until it has as many as it may keep."""
        least_missed = by_score(evaluator, self.topology_criterion)
        return inputs_to_keep(supernet, supernet.cell_spaces[cell], node, least_missed, self.topology_rounds)

    def _loss(self, score: Score) -> float:
        return perturbation_loss(score, self.operation_criterion)

    def _strength(self, masked: Score, unmasked: Score) -> Strength:
        """Return how much worse the supernet is without an operation."""
        column = get_args(Criterion).index(self.operation_criterion)
        return Strength(
            self._loss(masked) - self._loss(unmasked), standard_error_of_difference(masked, unmasked, column)
        )

    def _margin(self, decision: OperationDecision) -> float:
        """Return by how much the best operation stands out; edges with a single candidate come first."""
        losses = sorted(map(self._loss, decision.scores), reverse=True)
        return losses[0] - losses[1] if losses else float("inf")

    @property
    def needs_candidates(self) -> bool:
        return self.operation_rule == "perturbation"

    @property
    def needs_trained_alpha(self) -> bool:
        return self.operation_rule == "magnitude" or self.edge_order == "entropy"

    def cost(self, cells: Mapping[str, CellSpace]) -> Cost:
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

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        super().check(cells)
        check_edge_order(self.edge_order, cells)
        check_node_order(self.node_order, cells)
        steps, between = self.steps(cells), self.tuning.epochs_between
        if between and not all(step.epochs for step in steps):
            raise ValueError(
                f"selection.tuning.epochs={self.tuning.epochs} is too short for {len(steps)} decision steps every "
                f"{between} epochs: give at least {(len(steps) - 2) * between + 2}, or null."
            )
