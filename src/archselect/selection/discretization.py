"""Selection by the accuracy after discretisation: what the paper takes for the truth (DARTS-PT, sec. 3.1, Fig. 1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import get_args

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import (
    DecisionStep,
    SupernetEvaluator,
    TrialTraining,
    check_candidates,
    check_scoring_node,
)
from archselect.selection.decisions import Decision, OperationDecision, Strength
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
from archselect.selection.scoring import Criterion, Scoring
from archselect.selection.topology import Rounds, by_score, decide_inputs, perturbation_loss
from archselect.utils.validation import FLAG, one_of


@dataclass(frozen=True)
class Discretization:
    """Decide edge by edge, each by training the supernet once with each of its operations in place of the mixture.

    The operation that leaves the best supernet is kept, and the supernet goes on from there. When all edges are
    decided, nodes drop inputs as in `Perturbation`. Every candidate is kept when it has been trained, so a selection
    that was cut off goes on with the next one. An operation is as strong as the supernet is accurate with it.

    Attributes:
        name: Shown in folders and reports.
        criterion: What makes one supernet better than another.
        edge_order: See `EdgeOrder`; not `global`.
        node_order: See `Perturbation`.
        topology_rounds: See `Perturbation`.
        report_strengths: Whether the strengths of the operations are shown.
        training: Of each candidate. The paper trains to convergence.
        scoring: On what the supernets are scored.
    """

    name: str = "discretization"
    criterion: Criterion = "accuracy"
    edge_order: EdgeOrder = "random"
    node_order: NodeOrder = "random"
    topology_rounds: Rounds = "independent"
    report_strengths: bool = False
    training: TrialTraining = field(default_factory=TrialTraining)
    scoring: Scoring = field(default_factory=Scoring)
    tuning = None
    needs_candidates = True

    def __post_init__(self) -> None:
        one_of(get_args(Criterion)).check("selection.criterion", self.criterion)
        one_of(get_args(Rounds)).check("selection.topology_rounds", self.topology_rounds)
        FLAG.check("selection.report_strengths", self.report_strengths)
        check_scoring_node(self.scoring)
        if self.edge_order == "global":
            raise ValueError(
                "selection.edge_order=global would train the supernet once for every operation of every undecided edge "
                "at each point. Use another order, or selection=perturb."
            )

    @property
    def needs_trained_alpha(self) -> bool:
        """See `Selector.needs_trained_alpha`."""
        return self.edge_order == "entropy"

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """See `Selector.check`."""
        check_candidates(self.name, cells)
        for name in cells:
            check_edge_order(self.edge_order, cells, name)
            check_node_order(self.node_order, cells, name)

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """One per edge, then one per node that chooses its inputs; cell types are decided side by side."""
        return edge_points(cells, decided) + node_points(cells, decided)

    def trials(self, cells: Mapping[str, CellSpace]) -> int:
        """Return how many copies of the supernet are trained, where nothing has been decided yet."""
        counts = (len(candidates) for space in cells.values() for candidates in space.operations)
        return sum(count for count in counts if count > 1)

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
                yield decide_inputs(supernet, space, node, by_score(trials, self.criterion), self.topology_rounds)

    def _decide_edge(
        self, supernet: Supernet, space: CellSpace, trials: SupernetEvaluator, purpose: tuple[int | str, ...]
    ) -> OperationDecision:
        edge = next_edge(self.edge_order, supernet, space.name, trials, purpose)
        candidates = space.operations[edge]
        if len(candidates) == 1:
            return OperationDecision(space.name, edge, 0)
        names = [f"{space.name}-edge{edge}/{candidate}" for candidate in candidates]
        scores = []
        for operation, name in enumerate(names):
            decided = supernet.decisions[space.name].keep_operation(edge, operation)
            scores.append(trials.train(name, {**supernet.decisions, space.name: decided}, self.training))
        best = min(range(len(names)), key=lambda operation: perturbation_loss(scores[operation], self.criterion))
        strengths = tuple(Strength(-perturbation_loss(score, self.criterion)) for score in scores)
        return OperationDecision(space.name, edge, best, tuple(scores), strengths=strengths, trial=names[best])
