"""What `alpha` and perturbation say of operations, and the accuracy after discretising to them (DARTS-PT, Fig. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from matplotlib.figure import Figure

from archselect.analysis.analysis import Table, Tables
from archselect.analysis.bench import Bench
from archselect.analysis.edges import Edge, by_edge, open_edges, tau
from archselect.analysis.operation_strength import perturbed, picked
from archselect.analysis.subject import Subject
from archselect.analysis.words import mean, percent
from archselect.checks import check_positive
from archselect.figures.edge_predictors import draw_edge_predictors
from archselect.randomness import generator_for
from archselect.runs import FinishedRun
from archselect.selection import Scoring
from archselect.selection.selector import TrialTraining, check_unraced
from archselect.stages.job import Finished

TRUTH = "accuracy_at_convergence"
PREDICTORS = {"alpha": "softmax(alpha)", "strength": "perturbation"}


@dataclass(frozen=True)
class DiscretizationAccuracy:
    """Discretise random edges to each of their operations, train the supernet on, and read its validation accuracy.

    That is what the paper takes for the truth about an operation's strength. Beside it stand what predicts it: the
    weight, and the drop of the accuracy when the operation is masked, both on the supernet as the search left it.

    Attributes:
        name: Shown in folders and reports.
        edges: So many, drawn at random from all cell types.
        training: Of the supernet after each discretisation; the paper trains to convergence.
        scoring: On what supernets are scored.
    """

    name: str = "discretization_accuracy"
    edges: int = 3
    training: TrialTraining = field(default_factory=TrialTraining)
    scoring: Scoring = field(default_factory=Scoring)
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_positive("analysis.edges", self.edges)
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        there = len(open_edges(runs[0].supernet()))
        if self.edges > there:
            raise ValueError(
                f"analysis.edges={self.edges}, but only {there} edges of the run's supernet have something to choose. "
                "Lower it."
            )

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return a row per operation of the chosen edges."""
        supernet = bench.supernet()
        every = open_edges(supernet)
        generator = generator_for(bench.subject.run.parts.seed, "analysis", "edges")
        chosen = [every[index] for index in sorted(torch.randperm(len(every), generator=generator)[: self.edges])]
        bench.fitting.progress.start(total=sum(len(edge.operations) for edge in chosen), completed=0)
        scorer = bench.scorer(supernet, self.scoring)
        rows: Table = []
        for edge in chosen:
            predicted = perturbed(supernet, edge, scorer, "accuracy")
            truths = self._at_convergence(bench, edge)
            rows += [{**row, TRUTH: truth} for row, truth in zip(predicted, truths, strict=True)]
        return {"operations": rows}

    def _at_convergence(self, bench: Bench, edge: Edge) -> list[float]:
        supernet = bench.supernet()
        trials = bench.trials(supernet, self.scoring)
        accuracies = []
        for index, operation in enumerate(edge.operations):
            decided = supernet.decisions[edge.cell].keep_operation(edge.number, index)
            name = f"{edge.cell}-edge{edge.number}/{operation}"
            accuracies.append(trials.train(name, {**supernet.decisions, edge.cell: decided}, self.training).accuracy)
            bench.fitting.progress.advance()
        return accuracies

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_edge_predictors(tables["operations"])

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        edges = [rows for _, rows in by_edge(tables["operations"])]
        hits, agreement = [], []
        for column, words in PREDICTORS.items():
            right = sum(picked(rows, column) == picked(rows, TRUTH) for rows in edges)
            hits.append(f"{words} on {right}")
            average = mean(tau(rows, column, TRUTH) for rows in edges)
            agreement.append(f"{words} {'undefined' if average is None else format(average, '+.2f')}")
        ranges = mean(max(row[TRUTH] for row in rows) - min(row[TRUTH] for row in rows) for rows in edges)
        length = f"{self.training.epochs} epoch{'s' * (self.training.epochs > 1)}"
        return (
            f"The operation with the best accuracy after discretising and training on ({length}) is "
            f"named by {' and by '.join(hits)} of {len(edges)} edges. Kendall's tau with that accuracy, mean over the "
            f"edges: {', '.join(agreement)}. From the best to the worst operation of an edge the accuracy falls by "
            f"{percent(ranges or 0.0, 2).replace('%', 'points')} on average."
        )
