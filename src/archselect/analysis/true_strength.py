"""How well each selection's strengths order the operations of an edge, by the NAS-Bench-201 table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from archselect.analysis.base import (
    Analysis,
    AnalysisContext,
    Measurer,
    Prepared,
    Table,
    Tables,
    check_accuracy,
    check_same_operations,
)
from archselect.analysis.operation_strength import perturbed
from archselect.analysis.stats import correlations, distinct, edge_taus, open_edges, plural, rows_by, table_column
from archselect.evaluation.nasbench201 import ACCURACIES
from archselect.figures.style import BLUE, add_legend, edge_name, legend_dot, new_figure, parts, styled, styles
from archselect.genotype import Genotype
from archselect.models.cell_space import CellSpace
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import StageResult
from archselect.selection import Scoring
from archselect.selection.base import check_unraced
from archselect.selection.scoring import Criterion
from archselect.utils.validation import NonNegativeInt, PositiveInt, one_of

GROUND_TRUTHS = {
    "true_mean": "the mean of all architectures",
    "true_best": "the best architecture",
    "true_conditional": "the run's other edges",
}
"""Of the architectures with an operation on an edge: the mean, the best, and the one that is else the run's own."""

NAMES = {"alpha": "softmax(α)", "masking": "masking, nothing decided", "parameters": "number of parameters"}
"""The predictors that are no selections: `softmax(alpha)`, masking on the supernet as the search left it, and, as the
trivial baseline that each has to beat, how many parameters the operation has."""


@dataclass(frozen=True)
class TrueStrength(Analysis):
    """Compare the table's accuracy of each operation on each edge with what alpha, masking and selections say of it.

    The ground truth of an operation on an edge is the accuracy of the architectures that have it there: their mean, the
    best of them, and that of the single one whose other edges are those of the run's architecture. Rank correlation is
    Kendall's tau-b, per edge: with five operations it is the share of pairs in order less that of pairs out of order,
    and ties count for neither. The options are described in `configs/analysis/true_strength.yaml`.
    """

    name: str = "true_strength"
    column: Annotated[str, one_of(ACCURACIES)] = "cifar10_test"
    criterion: Criterion = "metric"
    resamples: PositiveInt = 10_000
    seed: NonNegativeInt = 0
    scoring: Scoring = field(default_factory=Scoring)
    multi_run: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        check_accuracy(f"analysis={self.name}", "compares with the accuracies of the NAS-Bench-201 table", runs)
        for run in runs:
            if set(run.parts.space.cells) != {"cell"}:
                raise ValueError(
                    f"analysis={self.name} asks the NAS-Bench-201 table, but the search space of the run {run.folder} "
                    f"is {run.parts.space.name!r}. Name runs with search_space=nasbench201."
                )
        check_same_operations(self.name, runs)

    def prepare(self, context: AnalysisContext) -> Prepared:
        """Return the selections, from every supernet."""
        lacking = next((one.run for one in context.per_supernet if one.table is None), None)
        if lacking is not None:
            raise ValueError(
                f"analysis={self.name} asks the NAS-Bench-201 table, and that of the package lacks cells of the run "
                f"{lacking.folder}, which has other operations. Name one that has them: table=FILE."
            )
        if taken := NAMES.keys() & context.selections.keys():
            raise ValueError(
                f"selections.{min(taken)} has the name of what analysis={self.name} measures itself. Name it otherwise."
            )
        return {
            f"{number} {name}": stage
            for number, one in enumerate(context.per_supernet)
            for name, stage in one.select_all().items()
        }

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return ground truths and strengths per operation, tau per edge, and its mean."""
        contexts = measurer.context.per_supernet
        measurer.start(sum(len(one.run.space["cells"]["cell"]["edges"]) for one in contexts))
        predictors = [*NAMES, *measurer.context.selections]
        strengths: Table = []
        for number, one in enumerate(contexts):
            selections = {name: prepared.get(f"{number} {name}") for name in one.selections}
            strengths += self._strengths(Measurer(one, measurer.trainer), number + 1, selections)
        edges = edge_taus(strengths, predictors, list(GROUND_TRUTHS))
        return {
            "strengths": strengths,
            "correlations": correlations(edges, self.resamples, self.seed),
            "edges": edges,
            "predictors": _predictors(predictors, strengths, contexts),
        }

    def _strengths(self, measurer: Measurer, number: int, selections: Mapping[str, StageResult | None]) -> Table:
        """Return the rows of one run."""
        run, supernet, table = measurer.run, measurer.supernet(), measurer.context.table
        assert table is not None, "prepare checks it"
        space = supernet.cell_spaces["cell"]
        accuracies = table.accuracies(self.column, space.operations)
        trained = run.parts.search.architecture_gradient is not None
        own = chosen_operations(run.genotype, space)
        scorer = measurer.scorer(supernet, self.scoring)
        sizes = parameter_counts(supernet)
        recorded = {name: recorded_strengths(stage) if stage else {} for name, stage in selections.items()}
        rows = []
        for edge in open_edges(supernet):
            measure = partial(perturbed, supernet, edge, scorer, self.criterion)
            masked = measurer.cached(f"run {number} {edge.name}", measure)
            for seen, truth in zip(masked, ground_truths(accuracies, edge.number, own), strict=True):
                operation = seen["operation"]
                row = {"run": number, "seed": run.parts.seed, "edge": edge.name, "operation": operation, **truth}
                row |= {"alpha": seen["alpha"] if trained else None, "masking": seen["strength"]}
                row["parameters"] = sizes[operation]
                rows.append(row | {name: values.get((edge.name, operation)) for name, values in recorded.items()})
        return rows

    @styled
    def draw(self, tables: Tables) -> Figure:
        """Draw tau with its intervals, a panel per ground truth, and below the truth of every operation."""
        strengths, taus, what = tables["strengths"], tables["correlations"], table_column(self.column)
        by_truth = dict(rows_by(taus, "truth"))
        best = sorted(by_truth["true_mean"], key=lambda row: (row["tau"] is None, -(row["tau"] or 0.0)))
        names = [row["predictor"] for row in best]  # undefined ones last
        heights = [0.75 + 0.17 * len(names), 1.05 + 0.17 * len(distinct(strengths, "operation"))]
        title = f"Do strengths order the operations of an edge as their {what} does?"
        figure, body = new_figure(title, 0.4 + sum(heights))
        titles = [
            "Kendall's tau-b with the accuracy given ... (95 % bootstrap interval over edges; open: it holds 0)",
            f"{what} of the operations on every edge (source,target)",
        ]
        above, below = parts(body, titles, heights)
        panels = above.subplots(1, len(GROUND_TRUTHS), sharey=True)
        for axes, (truth, label) in zip(panels, GROUND_TRUTHS.items(), strict=True):
            axes.set_title(label)
            _draw_correlations(axes, names, by_truth[truth])
        _draw_truths(below, strengths)
        return figure

    def summary(self, tables: Tables) -> str:
        rows = [row for row in tables["correlations"] if row["tau"] is not None]
        runs = len(distinct(tables["strengths"], "run"))
        words = [
            f"How well predictors order the operations of an edge by {table_column(self.column)}, as Kendall's tau-b, "
            f"mean over the edges of {plural(runs, 'supernet')}, with 95 % intervals by a bootstrap over "
            f"{'edges' if runs == 1 else 'runs and edges'}."
        ]
        best = sorted(rows, key=lambda row: row["tau"], reverse=True)
        for truth, name in zip(GROUND_TRUTHS, ("mean", "best", "accuracy beside the run's other edges"), strict=True):
            taus = ", ".join(_tau(row) for row in best if row["truth"] == truth)
            words.append(f"By the true {name}: {taus or 'none is defined'}.")
        for row in tables["predictors"]:
            if row["left_out"]:
                where = " of some runs" if row["edges"] else ""
                words.append(f"{row['predictor']} is left out{where}: {row['left_out']}")
        return " ".join(words)


def ground_truths(accuracies: NDArray[np.float64], edge: int, own: Sequence[int]) -> list[dict[str, float]]:
    """Return the `GROUND_TRUTHS` of each operation of an edge, in percent.

    The accuracies of all cells have an axis per edge; `own` are the operations of the run's architecture, by index.
    """
    others = (*own[:edge], *own[edge + 1 :])
    return [
        {"true_mean": float(cells.mean()), "true_best": float(cells.max()), "true_conditional": float(cells[others])}
        for cells in np.moveaxis(accuracies, edge, 0)
    ]


def chosen_operations(genotype: Genotype, space: CellSpace) -> list[int]:
    """Return the operation of every edge of the cell, by index."""
    chosen = {(source, target): operation for source, target, operation in genotype.cell(space.name).edges}
    return [space.operations[number].index(chosen[edge]) for number, edge in enumerate(space.topology.edges)]


def parameter_counts(supernet: Supernet) -> dict[str, int]:
    """Return how many parameters each operation has in the supernet's first cell."""
    cell = next(module for module in supernet.modules() if isinstance(module, MixedCell))
    return {
        name: sum(p.numel() for p in cell.space.primitives[name].build(cell.active_channels, 1, False).parameters())
        for operations in cell.space.operations
        for name in operations
    }


def recorded_strengths(stage: StageResult) -> dict[tuple[str, str], float]:
    """Return what a selection took the strengths to be when it decided, by edge and operation."""
    return {
        (edge_name(decision["edge_states"]), operation): strength["value"]
        for decision in stage.folder.read_lines(DECISIONS)
        if decision["kind"] == "operation"
        for operation, strength in zip(decision["candidates"], decision["strengths"], strict=False)
    }


def _predictors(predictors: Sequence[str], strengths: Table, contexts: Sequence[AnalysisContext]) -> Table:
    """Return of each predictor on how many edges it says something, and why it does not where a run refuses it."""
    searches = [one.run.parts.search for one in contexts]
    untrained = [f"search={one.name} never trains it." for one in searches if one.architecture_gradient is None]
    rows = []
    for predictor in predictors:
        edges = {(row["run"], row["edge"]) for row in strengths if row[predictor] is not None}
        refused = [one.refused[predictor] for one in contexts if predictor in one.refused]
        reasons = dict.fromkeys(untrained if predictor == "alpha" else refused)
        rows.append({"predictor": predictor, "edges": len(edges), "left_out": " ".join(reasons)})
    return rows


def _tau(row: Mapping[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"{row['predictor']} {row['tau']:+.2f}{interval}"


def _draw_correlations(axes: Axes, names: Sequence[str], rows: Table) -> None:
    axes.axvline(0, color="0.45", linewidth=1.1, zorder=1)
    for row in rows:
        y, tau, low, high = names.index(row["predictor"]), row["tau"], row["low"], row["high"]
        if tau is None:
            axes.text(0.03, y, "not defined", fontsize=7, color="0.4", va="center")
            continue
        if low is not None:
            axes.plot([low, high], [y, y], color=BLUE, linewidth=1.5, zorder=2)
        face = "white" if low is None or low <= 0 <= high else BLUE
        axes.plot(tau, y, "o", markersize=5.5, color=BLUE, markerfacecolor=face, zorder=3, clip_on=False)
    axes.set(xlim=(-1.05, 1.05), ylim=(len(names) - 0.2, -0.8), xlabel="Kendall's tau-b")
    axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    axes.tick_params(axis="y", length=0)


def _draw_truths(figure: SubFigure, strengths: Table) -> None:
    """Draw a panel per edge: the mean of all architectures, and each run's own with this operation in its place."""
    (body,) = parts(figure, [""], [1])
    every = legend_dot("mean of all architectures with it", "0.3", filled=True)
    own = legend_dot("the run's architecture with it on this edge", "0.3", filled=False, marker="D")
    add_legend(body, [every, own])
    by_operation = styles(row["operation"] for row in strengths)
    operations, edges = list(by_operation), rows_by(strengths, "edge")
    panels = body.subplots(1, len(edges), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (edge, rows) in zip(panels, edges, strict=True):
        for row in rows:
            y, colour = operations.index(row["operation"]), by_operation[row["operation"]].colour
            axes.plot(row["true_conditional"], y, "D", color=colour, markerfacecolor="none")
            axes.plot(row["true_mean"], y, "o", markersize=5.5, color=colour)
        axes.set(title=edge, ylim=(len(operations) - 0.4, -0.6))
        axes.locator_params(axis="x", nbins=3)
        axes.set_yticks(range(len(operations)), operations)
        axes.tick_params(axis="y", length=0)
    body.supxlabel("accuracy (%)", fontsize=8)
