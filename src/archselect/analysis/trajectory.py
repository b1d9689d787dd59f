"""What selections choose along the search, and how good it is (DARTS-PT, Fig. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from math import ceil
from typing import Annotated, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archselect.analysis.base import Analysis, AnalysisContext, Measurer, Prepared, Table, Tables, metric_of
from archselect.analysis.stats import distinct, mean, percent, rows_by, table_column
from archselect.evaluation import Retraining
from archselect.evaluation.nasbench201 import RANKS
from archselect.figures.style import add_legend, new_figure, selection_styles, styled, whole_numbers
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.plan import Plan
from archselect.pipeline.preflight import check_data
from archselect.pipeline.stage import run_stage
from archselect.results.metric import ACCURACY, Metric
from archselect.results.summaries import skip_share
from archselect.utils.validation import POSITIVE_INT, Constraint

EPOCHS = Constraint(
    "be a list of whole numbers above 0 such as [10, 30, 50], or null for all snapshots",
    lambda value: isinstance(value, list | tuple) and len(value) > 0 and all(map(POSITIVE_INT.holds, value)),
)
TESTS = tuple(RANKS.values())
"""The columns of the NAS-Bench-201 table with test accuracies."""


def panels(metric: Metric) -> dict[str, tuple[str, str, float]]:
    """Return of each column that may have a panel the panel's title, the label of its axis, and what makes it shown."""
    return {
        **{column: (table_column(column), ACCURACY.label, 1) for column in TESTS},
        metric.key("test"): (f"test {metric.words}, retrained", metric.label, metric.factor),
        "skip_share": ("share of skip connections", "edges of the architecture (%)", 100),
        metric.key("val"): ("the supernet", f"validation {metric.label}", metric.factor),
    }


@dataclass(frozen=True)
class Trajectory(Analysis):
    """Select in several ways from the supernet as it was after so many epochs; None: wherever the search kept it.

    With `judge` every architecture is retrained as the run's own was.
    """

    name: str = "trajectory"
    epochs: Annotated[Sequence[int], EPOCHS] | None = None
    judge: bool = False

    def check(self, runs: Sequence[FinishedRun]) -> None:
        run = runs[0]
        if not run.snapshots:
            raise ValueError(
                f"analysis={self.name} selects from snapshots of the supernet, and the search of the run {run.folder} "
                "kept none. Search with search.snapshots=N to keep one after every N epochs."
            )
        lacking = [str(epoch) for epoch in self.epochs or () if epoch not in run.snapshots]
        if lacking:
            raise ValueError(
                f"analysis.epochs names {', '.join(lacking)}, but the search kept the supernet after "
                f"{', '.join(map(str, run.snapshots))} epochs. Choose among these, or null for all."
            )
        if self.judge:
            if not isinstance(run.parts.evaluation, Retraining):
                raise ValueError(
                    "analysis.judge=true retrains what is chosen as the run's own architecture was, but the run "
                    f"{run.folder} has evaluation={run.parts.evaluation.name}. Leave it out, or name a run that "
                    "retrained."
                )
            check_data(run.parts)

    def prepare(self, context: AnalysisContext) -> Prepared:
        """Return a selection per way and snapshot, with `judge` their evaluations."""
        run = context.run
        if context.table is not None:
            context.table.look_up(run.parts.space.example())  # refused now, not after the selections
        made = {
            f"{epoch} {name}": stage for epoch in self._epochs(run) for name, stage in context.select_all(epoch).items()
        }
        if not made:
            raise ValueError(f"analysis={self.name} has no selection to follow. {' '.join(context.refused.values())}")
        if self.judge:
            plan = Plan(run.config, run.parts, context.job)
            for text in dict.fromkeys([stage.result["genotype"] for stage in made.values()]):
                evaluation = plan.evaluation(Genotype.from_text(text))
                assert evaluation is not None, "check saw that the run retrains"
                made[text] = run_stage(evaluation, context.job)
        return made

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per snapshot and selection, and which selections were left out."""
        context, history = measurer.context, measurer.run.history("search")
        val, test = (measurer.metric.key(part) for part in ("val", "test"))
        values = {record["epoch"] + 1: record["metrics"][val] for record in history}
        rows: Table = []
        for epoch, name in product(self._epochs(measurer.run), context.selections):
            if (made := prepared.get(f"{epoch} {name}")) is None:
                continue
            text = made.result["genotype"]
            genotype = Genotype.from_text(text)
            row = {"epoch": epoch, "selection": name, val: values[epoch]}
            row["skip_share"] = skip_share(genotype)
            if context.table is not None:
                row |= {column: getattr(context.table.look_up(genotype), column) for column in TESTS}
            if self.judge:
                row[test] = prepared[text].result[test]
            rows.append({**row, "genotype": text})
        selections = [{"selection": name, "left_out": context.refused.get(name, "")} for name in context.selections]
        return {"choices": rows, "selections": selections}

    def _epochs(self, run: FinishedRun) -> Sequence[int]:
        return run.snapshots if self.epochs is None else sorted(set(self.epochs))

    @styled
    def draw(self, tables: Tables) -> Figure:
        rows, metric = tables["choices"], metric_of(tables)
        columns = [column for column in panels(metric) if column in rows[0]]
        lines = ceil(len(columns) / 3)
        figure, body = new_figure("What is chosen from the supernet as it was along the search", 0.7 + lines * 1.9)
        by_selection = selection_styles(distinct(rows, "selection")).items()
        looks: dict[str, dict[str, Any]] = {
            name: {"color": one.colour, "ls": one.line, "marker": one.marker} for name, one in by_selection
        }
        add_legend(body, [Line2D([], [], label=name, **look) for name, look in looks.items()])
        grid = body.subplots(lines, ceil(len(columns) / lines), squeeze=False).flat
        for axes, column in zip_longest(grid, columns):
            if column is None:
                axes.set_axis_off()
            else:
                _draw_panel(axes, rows, column, looks, metric)
        return figure

    def summary(self, tables: Tables) -> str:
        rows, metric = tables["choices"], metric_of(tables)
        first, last = rows[0], rows[-1]
        begin, end = (metric.amount(row[metric.key("val")], digits=1) for row in (first, last))
        words = [
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation {metric.words} goes from "
            f"{begin} to {end}."
        ]
        for name, own in rows_by(rows, "selection"):
            judged = {metric.key("test"): metric, "cifar10_test": ACCURACY}
            courses = [_course(own, column, of) for column, of in judged.items() if column in own[0]]
            skips = [percent(row["skip_share"], 0) for row in (own[0], own[-1])]
            words.append(f"{name}: {', '.join([*courses, f'share of skips from {skips[0]} to {skips[1]}'])}.")
        words.append(
            "The paper sees the choices of magnitude degenerate along the search and those of perturbation not."
        )
        left_out = [row for row in tables["selections"] if row["left_out"]]
        return " ".join([*words, *(f"{row['selection']} is left out: {row['left_out']}" for row in left_out)])


def _course(rows: Table, column: str, metric: Metric) -> str:
    """Return where a column begins and ends, and its mean."""
    what, factor = (table_column(column), 1) if column in TESTS else (f"test {metric.words}", metric.factor)
    values = [factor * row[column] for row in rows]
    begin, end, average = (metric.number(one, 1) + metric.percent for one in (values[0], values[-1], mean(values)))
    return f"{what} from {begin} to {end} (mean {average})"


def _draw_panel(axes: Axes, rows: Table, column: str, looks: Mapping[str, Mapping[str, Any]], metric: Metric) -> None:
    """Draw a column along the epochs: a line per selection, but one of the supernet, which they have in common."""
    title, label, factor = panels(metric)[column]
    lines = dict(rows_by(rows, "selection"))
    if column == metric.key("val"):
        lines, looks = {"": rows}, {"": {"color": "0.35", "ls": "-", "marker": "x"}}
    for name, own in lines.items():
        values = {row["epoch"]: factor * row[column] for row in own}
        axes.plot(list(values), list(values.values()), clip_on=False, **looks[name])
    axes.margins(y=0.12)
    if column == "skip_share":
        axes.set_ylim(-4, 104)  # a line along 0 or 100 is seen whole
    axes.set(title=title, xlabel="epochs of the search", ylabel=label)
    whole_numbers(axes)
    axes.locator_params(axis="y", nbins=5)
