"""Selection by the accuracy after discretisation: what the paper takes for the truth (DARTS-PT, sec. 3.1, Fig. 1)."""

from dataclasses import dataclass, field

from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Cells, Cost, Evaluator, TrialTraining, check_scoring, choices, others
from archselect.selection.decisions import OperationDecision, Strength, TopologyRound
from archselect.selection.perturbation import ProgressiveSelector, Without, least_missed_by_score
from archselect.selection.scoring import Criterion, perturbation_loss
from archselect.utils.validation import check_options


@dataclass(frozen=True)
class Discretization(ProgressiveSelector):
    """Decide edge by edge, each by training the supernet once with each of its operations in place of the mixture.

    The operation that leaves the best supernet is kept, and the supernet goes on from there. When all edges are
    decided, nodes drop inputs as in `Perturbation`. Every candidate is kept when it has been trained, so a selection
    that was cut off goes on with the next one. An operation is as strong as the supernet is accurate with it.
    """

    name: str = "discretization"
    criterion: Criterion = "metric"
    training: TrialTraining = field(default_factory=TrialTraining)

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

    def cost(self, cells: Cells) -> Cost:
        return Cost(epochs=choices(cells) * self.training.epochs)

    def describe(self, cells: Cells, at_most: bool = False) -> str:
        most = "at most " if at_most else ""
        trained = f"{choices(cells)} supernets, {self.training.epochs} epochs each"
        return f"{super().describe(cells, at_most)}; expensive: trains {most}{trained}"

    def operation_to_keep(self, supernet: Supernet, cell: str, edge: int, evaluator: Evaluator) -> OperationDecision:
        space, operations = supernet.cell_spaces[cell], self.offered(supernet, cell, edge)
        excluded = others(space, edge, operations)
        if len(operations) == 1:
            return OperationDecision(cell, edge, operations[0], excluded=excluded)
        names = [f"{cell}-edge{edge}/{space.operations[edge][operation]}" for operation in operations]
        scores = []
        for operation, name in zip(operations, names, strict=True):
            decided = supernet.decisions[cell].keep_operation(edge, operation)
            scores.append(evaluator.train(name, {**supernet.decisions, cell: decided}, self.training))
        losses = [perturbation_loss(score, self.criterion) for score in scores]
        best = losses.index(min(losses))  # the first wins ties
        strengths = tuple(Strength(-loss) for loss in losses)
        return OperationDecision(
            cell, edge, operations[best], tuple(scores), strengths=strengths, trial=names[best], excluded=excluded
        )

    def least_missed(self, without: Without, supernet: Supernet, evaluator: Evaluator) -> TopologyRound:
        return least_missed_by_score(without, evaluator, self.criterion)
