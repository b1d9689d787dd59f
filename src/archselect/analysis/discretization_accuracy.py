"""What `alpha` and perturbation say of operations, and the accuracy after discretising to them (DARTS-PT, Fig. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.operation_strength import perturbed, picked
from archselect.analysis.stats import Edge, by_edge, mean, open_edges, percent, tau
from archselect.distributed.rng import generator_for
from archselect.figures.style import Style, add_legend, new_figure, styled, styles
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult
from archselect.selection import Scoring
from archselect.selection.base import TrialTraining, check_unraced
from archselect.utils.validation import POSITIVE_INT

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
        POSITIVE_INT.check("analysis.edges", self.edges)
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        there = len(open_edges(runs[0].supernet()))
        if self.edges > there:
            raise ValueError(
                f"analysis.edges={self.edges}, but only {there} edges of the run's supernet have something to choose. "
                "Lower it."
            )

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
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

    def _at_convergence(self, bench: Measurer, edge: Edge) -> list[float]:
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


Rows = Sequence[Mapping[str, Any]]

_BAR, _PANEL = 0.17, 0.45  # inches of an operation; of what surrounds those of an edge

_COLUMNS = (
    ("alpha", "softmax(α)", 1.0),
    ("strength", "accuracy lost when masked (points)", 100.0),
    ("accuracy_at_convergence", "accuracy at convergence (%)", 100.0),
)


@styled
def draw_edge_predictors(rows: Rows) -> Figure:
    """Draw weight, strength and accuracy at convergence of the operations of some edges.

    Args:
        rows: One per operation: cell, edge, operation, alpha, strength, accuracy_at_convergence.
    """
    edges: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        edges.setdefault((row["cell"], row["edge"]), []).append(row)
    look = styles(row["operation"] for row in rows)
    heights = [_PANEL + _BAR * len(own) for own in edges.values()]
    title = "What predicts an operation's strength, and its accuracy after discretising"
    figure, body = new_figure(title, 0.8 + sum(heights))
    add_legend(body, [_square("the largest on its edge", "0.2"), _square("not the largest", "white")])
    grid = body.subplots(len(edges), len(_COLUMNS), squeeze=False, height_ratios=heights)
    for panels, ((cell, edge), own) in zip(grid, edges.items(), strict=True):
        for axes, (column, _, factor) in zip(panels, _COLUMNS, strict=True):
            _draw_bars(axes, own, look, column, factor)
            axes.set_yticks(range(len(own)), [row["operation"] for row in own] if axes is panels[0] else [])
        panels[0].set_title(f"{cell} {edge}", fontweight="bold")
    for axes, (_, label, _) in zip(grid[-1], _COLUMNS, strict=True):
        axes.set_xlabel(label)
    return figure


def _square(label: str, face: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="s", color="0.2", markerfacecolor=face, label=label)


def _draw_bars(axes: Axes, rows: Rows, look: Mapping[str, Style], column: str, factor: float) -> None:
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    values = [factor * row[column] for row in rows]
    best = values.index(max(values))
    from_zero = column != "accuracy_at_convergence"  # there differences count, not sizes: dots, not bars
    for position, (row, value) in enumerate(zip(rows, values, strict=True)):
        colour = look[row["operation"]].colour
        face = colour if position == best else "white"
        if from_zero:
            axes.barh(position, value, 0.7, facecolor=face, edgecolor=colour)
        else:
            axes.plot(value, position, "o", markersize=5.5, color=colour, markerfacecolor=face, clip_on=False)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = max(high - low, 0.4 if factor > 1 else 1e-3)
    axes.set_xlim(low - (0.0 if from_zero and low == 0 else 0.12 * spread), max(high, low + spread) + 0.08 * spread)
