"""What `alpha` and perturbation say of operations, and the metric after discretising to them (DARTS-PT, Fig. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import Analysis, Measurer, Prepared, Table, Tables, metric_of
from archselect.analysis.operation_strength import Unraced, perturbed
from archselect.analysis.stats import edges_of, mean, mean_defined, open_edges, picked, plural, tau
from archselect.distributed.rng import generator_for
from archselect.figures.style import Rows, Style, add_legend, legend_dot, limits, new_figure, styled, styles
from archselect.pipeline.finished_run import FinishedRun
from archselect.results.metric import ACCURACY, Metric
from archselect.selection.base import TrialTraining
from archselect.utils.validation import PositiveInt


def ground_truth(metric: Metric) -> str:
    """Return the name of the column with the metric after discretising and training on."""
    return f"{metric.name}_at_convergence"


GROUND_TRUTH = ground_truth(ACCURACY)
PREDICTORS = {"alpha": "softmax(alpha)", "strength": "perturbation"}


def _columns(metric: Metric) -> tuple[tuple[str, str, float], ...]:
    """Return of each column that is drawn its name, its label, and by what it is multiplied."""
    points, percent = (" (points)", " (%)") if metric.is_share else ("", "")
    return (
        ("alpha", "softmax(α)", 1.0),
        ("strength", f"{metric.words} {metric.harm} when masked{points}", metric.factor),
        (ground_truth(metric), f"{metric.words} at convergence{percent}", metric.factor),
    )


@dataclass(frozen=True)
class DiscretizationAccuracy(Analysis):
    """Discretise random edges to each of their operations, train the supernet on, and read its validation metric.

    That is what the paper takes for the ground truth of an operation's strength. Beside it stand what predicts it: the
    weight, and the harm to the metric when the operation is masked, both on the supernet as the search left it.
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
        supernet, truth = measurer.supernet(), ground_truth(measurer.metric)
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
                rows.append({**row, truth: evaluator.train(name, decisions, self.training).metric})
                measurer.trainer.progress.advance()
        return {"operations": rows}

    @styled
    def draw(self, tables: Tables) -> Figure:
        rows, metric = tables["operations"], metric_of(tables)
        edges, columns = edges_of(rows), _columns(metric)
        by_operation = styles(row["operation"] for row in rows)
        heights = [0.45 + 0.17 * len(own) for own in edges]
        title = f"What predicts an operation's strength, and its {metric.words} after discretising"
        figure, body = new_figure(title, 0.8 + sum(heights))
        best = "largest" if metric.mode == "max" else "best"
        filled = {f"the {best} on its edge": True, f"not the {best}": False}
        add_legend(body, [legend_dot(label, "0.2", fill, "s") for label, fill in filled.items()])
        grid = body.subplots(len(edges), len(columns), squeeze=False, sharey="row", height_ratios=heights)
        for panels, own in zip(grid, edges, strict=True):
            for axes, (column, _, factor) in zip(panels, columns, strict=True):
                _draw_values(axes, own, by_operation, column, factor, metric)
            panels[0].set_title(f"{own[0]['cell']} {own[0]['edge']}", fontweight="bold")
        for axes, (_, label, _) in zip(grid[-1], columns, strict=True):
            axes.set_xlabel(label)
        return figure

    def summary(self, tables: Tables) -> str:
        edges, metric = edges_of(tables["operations"]), metric_of(tables)
        hits, agreement, truth = [], [], ground_truth(metric)
        for column, words in PREDICTORS.items():
            right = sum(picked(rows, column) == picked(rows, truth, metric.sign) for rows in edges)
            hits.append(f"{words} on {right}")
            taus = [tau(rows, column, truth) for rows in edges]
            average = mean_defined(one and metric.sign * one for one in taus)
            agreement.append(f"{words} {'undefined' if average is None else format(average, '+.2f')}")
        ranges = mean(max(row[truth] for row in rows) - min(row[truth] for row in rows) for rows in edges)
        order, falls = ("that", "falls") if metric.mode == "max" else ("the order by that", "rises")
        return (
            f"The operation with the best {metric.words} after discretising and training on "
            f"({plural(self.training.epochs, 'epoch')}) is named by {' and by '.join(hits)} of {len(edges)} edges. "
            f"Kendall's tau with {order} {metric.words}, mean over the edges: {', '.join(agreement)}. From the best "
            f"to the worst operation of an edge the {metric.words} {falls} by {metric.difference(ranges)} on average."
        )


def _draw_values(
    axes: Axes, rows: Rows, by_operation: Mapping[str, Style], column: str, factor: float, metric: Metric
) -> None:
    """Draw bars; but dots of the metric at convergence, of which differences count, not sizes."""
    values = [factor * row[column] for row in rows]
    colours = [by_operation[row["operation"]].colour for row in rows]
    dotted = column == ground_truth(metric)
    sign = metric.sign if dotted else 1
    best = values.index(max(values, key=lambda value: sign * value))
    faces = [colour if position == best else "white" for position, colour in enumerate(colours)]
    if dotted:
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
