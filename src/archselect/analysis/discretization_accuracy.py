"""What `alpha` and perturbation say of operations, and the accuracy after discretising to them (DARTS-PT, Fig. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import Analysis, Measurer, Prepared, Table, Tables
from archselect.analysis.operation_strength import Unraced, perturbed
from archselect.analysis.stats import edges_of, mean, mean_defined, open_edges, picked, plural, tau
from archselect.distributed.rng import generator_for
from archselect.figures.style import Rows, Style, add_legend, legend_dot, limits, new_figure, styled, styles
from archselect.pipeline.finished_run import FinishedRun
from archselect.selection.base import TrialTraining
from archselect.utils.validation import PositiveInt

GROUND_TRUTH = "accuracy_at_convergence"
PREDICTORS = {"alpha": "softmax(alpha)", "strength": "perturbation"}
_COLUMNS = (
    ("alpha", "softmax(α)", 1.0),
    ("strength", "accuracy lost when masked (points)", 100.0),
    (GROUND_TRUTH, "accuracy at convergence (%)", 100.0),
)


@dataclass(frozen=True)
class DiscretizationAccuracy(Analysis):
    """Discretise random edges to each of their operations, train the supernet on, and read its validation accuracy.

    That is what the paper takes for the ground truth of an operation's strength. Beside it stand what predicts it: the
    weight, and the drop of the accuracy when the operation is masked, both on the supernet as the search left it.
    """

    name: str
    edges: PositiveInt
    training: TrialTraining
    scoring: Unraced

    def check(self, runs: Sequence[FinishedRun]) -> None:
        there = len(open_edges(runs[0].supernet()))
        if self.edges > there:
            raise ValueError(
                f"analysis.edges={self.edges}, but only {there} edges of the run's supernet have something to choose. "
                "Lower it."
            )

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per operation of the chosen edges."""
        supernet = measurer.supernet()
        every = open_edges(supernet)
        generator = generator_for(measurer.run.parts.seed, "analysis", "edges")
        chosen = [every[index] for index in sorted(torch.randperm(len(every), generator=generator)[: self.edges])]
        measurer.start(sum(len(edge.operations) for edge in chosen))
        scorer, evaluator = measurer.scorer(supernet, self.scoring), measurer.evaluator(supernet, self.scoring)
        rows: Table = []
        for edge in chosen:
            for index, row in enumerate(perturbed(supernet, edge, scorer, "metric")):
                decided = supernet.decisions[edge.cell].keep_operation(edge.number, index)
                decisions = {**supernet.decisions, edge.cell: decided}
                name = f"{edge.cell}-edge{edge.number}/{row['operation']}"
                rows.append({**row, GROUND_TRUTH: evaluator.train(name, decisions, self.training).metric})
                measurer.trainer.progress.advance()
        return {"operations": rows}

    @styled
    def draw(self, tables: Tables) -> Figure:
        rows = tables["operations"]
        edges = edges_of(rows)
        by_operation = styles(row["operation"] for row in rows)
        heights = [0.45 + 0.17 * len(own) for own in edges]
        title = "What predicts an operation's strength, and its accuracy after discretising"
        figure, body = new_figure(title, 0.8 + sum(heights))
        filled = {"the largest on its edge": True, "not the largest": False}
        add_legend(body, [legend_dot(label, "0.2", fill, "s") for label, fill in filled.items()])
        grid = body.subplots(len(edges), len(_COLUMNS), squeeze=False, sharey="row", height_ratios=heights)
        for panels, own in zip(grid, edges, strict=True):
            for axes, (column, _, factor) in zip(panels, _COLUMNS, strict=True):
                _draw_values(axes, own, by_operation, column, factor)
            panels[0].set_title(f"{own[0]['cell']} {own[0]['edge']}", fontweight="bold")
        for axes, (_, label, _) in zip(grid[-1], _COLUMNS, strict=True):
            axes.set_xlabel(label)
        return figure

    def summary(self, tables: Tables) -> str:
        edges = edges_of(tables["operations"])
        hits, agreement = [], []
        for column, words in PREDICTORS.items():
            right = sum(picked(rows, column) == picked(rows, GROUND_TRUTH) for rows in edges)
            hits.append(f"{words} on {right}")
            average = mean_defined(tau(rows, column, GROUND_TRUTH) for rows in edges)
            agreement.append(f"{words} {'undefined' if average is None else format(average, '+.2f')}")
        ranges = mean(max(row[GROUND_TRUTH] for row in rows) - min(row[GROUND_TRUTH] for row in rows) for rows in edges)
        return (
            "The operation with the best accuracy after discretising and training on "
            f"({plural(self.training.epochs, 'epoch')}) is named by {' and by '.join(hits)} of {len(edges)} edges. "
            f"Kendall's tau with that accuracy, mean over the edges: {', '.join(agreement)}. From the best to the "
            f"worst operation of an edge the accuracy falls by {100 * ranges:.2f} points on average."
        )


def _draw_values(axes: Axes, rows: Rows, by_operation: Mapping[str, Style], column: str, factor: float) -> None:
    """Draw bars; but dots of the accuracy at convergence, of which differences count, not sizes."""
    values = [factor * row[column] for row in rows]
    colours = [by_operation[row["operation"]].colour for row in rows]
    best = values.index(max(values))
    faces = [colour if position == best else "white" for position, colour in enumerate(colours)]
    if column == GROUND_TRUTH:
        axes.scatter(values, range(len(rows)), 30, faces, edgecolors=colours, linewidths=1.0, clip_on=False)
    else:
        axes.barh(range(len(rows)), values, 0.7, color=faces, edgecolor=colours)
        values.append(0.0)
    axes.set_xlim(limits(values, 0.4 if factor > 1 else 1e-3))
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_yticks(range(len(rows)), [row["operation"] for row in rows])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
