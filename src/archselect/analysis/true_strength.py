"""How well each selection's strengths order the operations of an edge, by the NAS-Bench-201 table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.ground_truth import TRUTHS, own_operations, truths
from archselect.analysis.operation_strength import perturbed
from archselect.analysis.stats import correlations, edge_name, edge_taus, open_edges, table_column
from archselect.evaluation.nasbench201 import ACCURACIES
from archselect.figures.strengths import dot_in_legend
from archselect.figures.style import add_legend, new_figure, parts, styled, styles
from archselect.models.ops import build_operation
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import StageResult
from archselect.selection import Scoring
from archselect.selection.base import check_unraced
from archselect.selection.scoring import Criterion
from archselect.utils.validation import NON_NEGATIVE_INT, POSITIVE_INT, one_of

ALPHA, MASKING, PARAMETERS = "alpha", "masking", "parameters"
"""The predictors that are no selections: `softmax(alpha)`, masking on the supernet as the search left it, and, as the
trivial baseline that each has to beat, how many parameters the operation has."""


@dataclass(frozen=True)
class TrueStrength:
    """Compare the table's accuracy of each operation on each edge with what alpha, masking and selections say of it.

    An operation's true strength on an edge is the accuracy of the architectures that have it there: their mean, the
    best of them, and that of the single one whose other edges are those of the run's architecture. Rank correlation is
    Kendall's tau-b, per edge: with five operations it is the share of pairs in order less that of pairs out of order,
    and ties count for neither.

    Attributes:
        name: Shown in folders and reports.
        column: Of the table: what is taken for the truth.
        criterion: What masking is judged by: `accuracy` or (cross-entropy) `loss`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        scoring: On what masking is scored.
    """

    name: str = "true_strength"
    column: str = "cifar10_test"
    criterion: Criterion = "accuracy"
    resamples: int = 10_000
    seed: int = 0
    scoring: Scoring = field(default_factory=Scoring)
    several: ClassVar[bool] = True
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        one_of(ACCURACIES).check("analysis.column", self.column)
        one_of(get_args(Criterion)).check("analysis.criterion", self.criterion)
        POSITIVE_INT.check("analysis.resamples", self.resamples)
        NON_NEGATIVE_INT.check("analysis.seed", self.seed)
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        for run in runs:
            if set(run.parts.space.cells) != {"cell"}:
                raise ValueError(
                    f"analysis={self.name} asks the NAS-Bench-201 table, but the search space of the run {run.folder} "
                    f"is {run.parts.space.name!r}. Name runs with search_space=nasbench201."
                )
        if len({str(run.space) for run in runs}) > 1:
            raise ValueError(
                f"analysis={self.name} compares runs that choose among the same operations, and these "
                f"{len(runs)} do not. Name runs with the same search_space.operations."
            )

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: the selections, from every supernet."""
        lacking = next((one.run for one in subject.each if one.table is None), None)
        if lacking is not None:
            raise ValueError(
                f"analysis={self.name} asks the NAS-Bench-201 table, and that of the package lacks cells of the run "
                f"{lacking.folder}, which has other operations. Name one that has them: table=FILE."
            )
        taken = {ALPHA, MASKING, PARAMETERS} & set(subject.selections)
        if taken:
            raise ValueError(
                f"selections.{min(taken)} has the name of what analysis={self.name} measures itself. Name it otherwise."
            )
        return {
            f"{number} {name}": stage
            for number, one in enumerate(subject.each)
            for name, stage in one.select_all().items()
        }

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return truths and strengths per operation, tau per edge, and its mean per predictor and truth."""
        subjects = bench.subject.each
        total = sum(len(one.run.space["cells"]["cell"]["edges"]) for one in subjects)
        bench.fitting.progress.start(total=total, completed=0)
        predictors = [ALPHA, MASKING, PARAMETERS, *bench.subject.selections]
        strengths = []
        for number, one in enumerate(subjects):
            made = {name: prepared.get(f"{number} {name}") for name in one.selections}
            strengths += self._strengths(Measurer(one, bench.fitting), number, made)
        edges = edge_taus(strengths, predictors, TRUTHS)
        return {
            "strengths": strengths,
            "correlations": correlations(edges, self.resamples, self.seed),
            "edges": edges,
            "predictors": _predictors(predictors, strengths, subjects),
        }

    def _strengths(self, bench: Measurer, number: int, made: Mapping[str, StageResult | None]) -> Table:
        """Return the rows of one run."""
        run, supernet, table = bench.subject.run, bench.supernet(), bench.subject.table
        assert table is not None, "prepare checks it"
        space = supernet.cell_spaces["cell"]
        accuracies = table.accuracies(self.column, space.operations)
        trained = run.parts.search.architecture_gradient is not None
        own = own_operations(run.genotype, space)
        scorer = bench.scorer(supernet, self.scoring)
        sizes = parameter_counts(supernet)
        recorded = {name: {} if stage is None else recorded_strengths(stage) for name, stage in made.items()}
        rows = []
        for edge in open_edges(supernet):
            measure = partial(perturbed, supernet, edge, scorer, self.criterion)
            masked = bench.once(f"run {number + 1} {edge.name}", measure)
            for seen, truth in zip(masked, truths(accuracies, edge.number, own), strict=True):
                at = (edge.name, seen["operation"])
                rows.append(
                    {
                        "run": number + 1,
                        "seed": run.parts.seed,
                        "edge": edge.name,
                        "operation": seen["operation"],
                        **truth,
                        ALPHA: seen["alpha"] if trained else None,
                        MASKING: seen["strength"],
                        PARAMETERS: sizes[seen["operation"]],
                        **{name: strengths.get(at) for name, strengths in recorded.items()},
                    }
                )
        return rows

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_true_strength(tables["strengths"], tables["correlations"], table_column(self.column))

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = [row for row in tables["correlations"] if row["tau"] is not None]
        runs = len({row["run"] for row in tables["strengths"]})
        drawn = "edges" if runs == 1 else "runs and edges"
        words = [
            f"How well predictors order the operations of an edge by {table_column(self.column)}, as Kendall's tau-b, "
            f"mean over the edges of {runs} supernet{'s' * (runs > 1)}, with 95 % intervals by a bootstrap over "
            f"{drawn}."
        ]
        for truth, name in zip(TRUTHS, ("mean", "best", "accuracy beside the run's other edges"), strict=True):
            best = sorted((row for row in rows if row["truth"] == truth), key=lambda row: row["tau"], reverse=True)
            taus = ", ".join(f"{row['predictor']} {row['tau']:+.2f}{_interval(row)}" for row in best)
            words.append(f"By the true {name}: {taus or 'none is defined'}.")
        for row in tables["predictors"]:
            if row["left_out"]:
                where = " of some runs" if row["edges"] else ""
                words.append(f"{row['predictor']} is left out{where}: {row['left_out']}")
        return " ".join(words)


def parameter_counts(supernet: Supernet) -> dict[str, int]:
    """Return how many parameters each operation has in the supernet's first cell."""
    cell = next(module for module in supernet.modules() if isinstance(module, MixedCell))
    return {
        name: sum(p.numel() for p in build_operation(name, cell.active_channels, stride=1, affine=False).parameters())
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


def _predictors(predictors: Sequence[str], strengths: Table, subjects: Sequence[AnalysisContext]) -> Table:
    """Return of each predictor on how many edges it says something, and why it does not where a run refuses it."""
    rows = []
    for predictor in predictors:
        edges = {(row["run"], row["edge"]) for row in strengths if row[predictor] is not None}
        reasons = dict.fromkeys(one.refused[predictor] for one in subjects if predictor in one.refused)
        if predictor == ALPHA:
            fixed = [one.run.parts.search for one in subjects if one.run.parts.search.architecture_gradient is None]
            reasons = dict.fromkeys(f"search={search.name} never trains it." for search in fixed)
        rows.append({"predictor": predictor, "edges": len(edges), "left_out": " ".join(reasons)})
    return rows


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f" [{row['low']:+.2f}, {row['high']:+.2f}]"


Rows = Sequence[Mapping[str, Any]]

TITLES = {
    "true_mean": "the mean of all architectures",
    "true_best": "the best architecture",
    "true_conditional": "the run's other edges",
}
NAMES = {"alpha": "softmax(α)", "masking": "masking, nothing decided", "parameters": "number of parameters"}

_ROW, _PANEL = 0.17, 0.55  # inches of a predictor or an operation; of what surrounds them
_COLOUR = "#0072B2"


@styled
def draw_true_strength(strengths: Rows, correlations: Rows, what: str) -> Figure:
    """Draw tau with its intervals, a panel per truth, and below the truth of every operation.

    Args:
        strengths: edge, operation, true_mean and true_conditional, in percent.
        correlations: predictor, truth, tau, low, high; tau None where it is not defined.
        what: What the truth is, such as "CIFAR-10 test accuracy".
    """
    names = _ordered(correlations)
    operations = list(dict.fromkeys(row["operation"] for row in strengths))
    heights = [_PANEL + 0.2 + _ROW * len(names), _PANEL + 0.5 + _ROW * len(operations)]
    figure, body = new_figure(f"Do strengths order the operations of an edge as their {what} does?", 0.4 + sum(heights))
    titles = [
        "Kendall's tau-b with the accuracy given ... (95 % bootstrap interval over edges; open: it holds 0)",
        f"{what} of the operations on every edge (source,target)",
    ]
    above, below = parts(body, titles, heights)
    for axes, (truth, title) in zip(above.subplots(1, len(TITLES), sharey=True), TITLES.items(), strict=True):
        axes.set_title(title)
        _draw_correlations(axes, names, [row for row in correlations if row["truth"] == truth])
        axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    _draw_truths(below, strengths, operations)
    return figure


def _ordered(correlations: Rows) -> list[str]:
    """Return the predictors, that with the largest tau with the first truth first, undefined ones last."""
    first = [row for row in correlations if row["truth"] == next(iter(TITLES))]
    known = sorted((row for row in first if row["tau"] is not None), key=lambda row: row["tau"], reverse=True)
    return [row["predictor"] for row in [*known, *(row for row in first if row["tau"] is None)]]


def _draw_correlations(axes: Axes, names: Sequence[str], rows: Rows) -> None:
    axes.axvline(0, color="0.45", linewidth=1.1, zorder=1)
    for row in rows:
        y = names.index(row["predictor"])
        if row["tau"] is None:
            axes.text(0.03, y, "not defined", fontsize=7, color="0.4", va="center")
            continue
        unsure = row["low"] is None or row["low"] <= 0 <= row["high"]
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [y, y], color=_COLOUR, linewidth=1.5, zorder=2)
        face = "white" if unsure else _COLOUR
        axes.plot(row["tau"], y, "o", markersize=5.5, color=_COLOUR, markerfacecolor=face, zorder=3, clip_on=False)
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(len(names) - 0.2, -0.8)
    axes.set_xlabel("Kendall's tau-b")
    axes.tick_params(axis="y", length=0)


def _draw_truths(figure: SubFigure, strengths: Rows, operations: Sequence[str]) -> None:
    """Draw a panel per edge: the mean of all architectures, and each run's own with this operation in its place."""
    handles = [
        dot_in_legend("mean of all architectures with it", "0.3", filled=True),
        dot_in_legend("the run's architecture with it on this edge", "0.3", filled=False, marker="D"),
    ]
    (body,) = parts(figure, [""], [1])
    add_legend(body, handles)
    look = styles(operations)
    edges = list(dict.fromkeys(row["edge"] for row in strengths))
    panels = body.subplots(1, len(edges), sharex=True, sharey=True, squeeze=False)[0]
    for axes, edge in zip(panels, edges, strict=True):
        axes.set_title(edge)
        for row in strengths:
            if row["edge"] == edge:
                y, colour = operations.index(row["operation"]), look[row["operation"]].colour
                axes.plot(row["true_conditional"], y, "D", color=colour, markerfacecolor="none")
                axes.plot(row["true_mean"], y, "o", markersize=5.5, color=colour)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        axes.set_ylim(len(operations) - 0.4, -0.6)
        axes.set_yticks(range(len(operations)), operations)
        axes.tick_params(axis="y", length=0)
    body.supxlabel("accuracy (%)", fontsize=8)
