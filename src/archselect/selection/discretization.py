"""Selection by the accuracy after discretisation: what the paper takes for the truth (DARTS-PT, sec. 3.1, Fig. 1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Cost, Selector, SupernetEvaluator, TrialTraining, check_scoring, choices
from archselect.selection.decisions import Decision, OperationDecision, Strength
from archselect.selection.edge_order import (
    EdgeOrder,
    NodeOrder,
    check_edge_order,
    check_node_order,
    next_edge,
    next_node,
)
from archselect.selection.schedule import DecisionStep, progressive_steps
from archselect.selection.scoring import Criterion, Scoring, perturbation_loss
from archselect.selection.topology import Rounds, by_score, inputs_to_keep
from archselect.utils.validation import check_options


@dataclass(frozen=True)
class Discretization(Selector):
    """Decide edge by edge, each by training the supernet once with each of its operations in place of the mixture.

    The operation that leaves the best supernet is kept, and the supernet goes on from there. When all edges are
    decided, nodes drop inputs as in `Perturbation`. Every candidate is kept when it has been trained, so a selection
    that was cut off goes on with the next one. An operation is as strong as the supernet is accurate with it.

    Attributes:
        criterion: What makes one supernet better than another.
        edge_order: See `EdgeOrder`; not `global`.
        node_order: As in `Perturbation`.
        topology_rounds: As in `Perturbation`.
        training: Of each candidate. The paper trains to convergence.
    """

    name: str = "discretization"
    criterion: Criterion = "accuracy"
    edge_order: EdgeOrder = "random"
    node_order: NodeOrder = "random"
    topology_rounds: Rounds = "independent"
    report_strengths: bool = False
    training: TrialTraining = field(default_factory=TrialTraining)
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scoring(self.scoring)
        check_options("selection.training", self.training, TrialTraining)
        if self.edge_order == "global":
            raise ValueError(
                "selection.edge_order=global would train the supernet once for every operation of every undecided edge "
                "at each step. Use another order, or selection=perturb."
            )

    @property
    def needs_trained_alpha(self) -> bool:
        return self.edge_order == "entropy"

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        super().check(cells)
        check_edge_order(self.edge_order, cells)
        check_node_order(self.node_order, cells)

    def steps(
        self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None
    ) -> list[DecisionStep]:
        return progressive_steps(cells, decided)

    def cost(self, cells: Mapping[str, CellSpace]) -> Cost:
        return Cost(epochs=choices(cells) * self.training.epochs)

    def describe(self, cells: Mapping[str, CellSpace], at_most: bool = False) -> str:
        most = "at most " if at_most else ""
        trained = f"{choices(cells)} supernets, {self.training.epochs} epochs each"
        return f"{super().describe(cells, at_most)}; expensive: trains {most}{trained}"

    def decide(
        self, step: DecisionStep, supernet: Supernet, evaluator: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        for cell in step.cells:
            space = supernet.cell_spaces[cell]
            if step.kind == "operation":
                rng_key = (seed, "selection", "edge", cell, step.number)
                edge = next_edge(self.edge_order, supernet, cell, evaluator, rng_key)
                yield self._operation_to_keep(supernet, space, edge, evaluator)
            else:
                node = next_node(self.node_order, supernet, cell, (seed, "selection", "node", cell, step.number))
                yield inputs_to_keep(supernet, space, node, by_score(evaluator, self.criterion), self.topology_rounds)

    def _operation_to_keep(
        self, supernet: Supernet, space: CellSpace, edge: int, evaluator: SupernetEvaluator
    ) -> OperationDecision:
        candidates = space.operations[edge]
        if len(candidates) == 1:
            return OperationDecision(space.name, edge, 0)
        names = [f"{space.name}-edge{edge}/{candidate}" for candidate in candidates]
        scores = []
        for operation, name in enumerate(names):
            decided = supernet.decisions[space.name].keep_operation(edge, operation)
            scores.append(evaluator.train(name, {**supernet.decisions, space.name: decided}, self.training))
        losses = [perturbation_loss(score, self.criterion) for score in scores]
        best = losses.index(min(losses))  # the first wins ties
        strengths = tuple(Strength(-loss) for loss in losses)
        return OperationDecision(space.name, edge, best, tuple(scores), strengths=strengths, trial=names[best])
