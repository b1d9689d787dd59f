"""What selections choose along the search, and how good it is (DARTS-PT, Fig. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import Analysis, AnalysisContext, Measurer, Table, Tables
from archselect.analysis.stats import distinct, mean, percent, table_column
from archselect.evaluation import Retraining
from archselect.evaluation.nasbench201 import RANKS
from archselect.figures.style import Rows, Style, add_legend, new_figure, selection_styles, styled, whole_numbers
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.plan import Plan
from archselect.pipeline.preflight import check_data
from archselect.pipeline.stage import StageResult, run_stage
from archselect.results.summaries import skip_share
from archselect.utils.validation import POSITIVE_INT, check_fields

TESTS = tuple(RANKS.values())
"""The columns of the NAS-Bench-201 table with test accuracies."""


class Panel(NamedTuple):
    """A column of the rows, its title, its axis; `common`: of all selections alike, so that one line says it."""

    column: str
    title: str
    label: str
    factor: float = 1.0
    common: bool = False


_PANELS = (
    *(Panel(column, table_column(column), "accuracy (%)") for column in TESTS),
    Panel("test_accuracy", "test accuracy, retrained", "accuracy (%)", 100),
    Panel("skip_share", "share of skip connections", "edges of the architecture (%)", 100),
    Panel("val_accuracy", "the supernet", "validation accuracy (%)", 100, common=True),
)
_PER_LINE = 3


@dataclass(frozen=True)
class Trajectory(Analysis):
    """Select from the supernet as it was after so many epochs, in several ways.

    Attributes:
        epochs: After how many epochs; null: wherever the search kept the supernet.
        judge: Whether every architecture is retrained as the run's own was.
    """

    name: str = "trajectory"
    epochs: Sequence[int] | None = None
    judge: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "analysis")
        if self.epochs is not None:
            if isinstance(self.epochs, str) or not isinstance(self.epochs, Sequence) or not self.epochs:
                raise ValueError(
                    "analysis.epochs must be a list such as [10, 30, 50], or null for all snapshots; got "
                    f"{self.epochs!r}."
                )
            for epoch in self.epochs:
                POSITIVE_INT.check("analysis.epochs", epoch)

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
        if self.judge and not isinstance(run.parts.evaluation, Retraining):
            raise ValueError(
                f"analysis.judge=true retrains what is chosen as the run's own architecture was, but the run "
                f"{run.folder} has evaluation={run.parts.evaluation.name}. Leave it out, or name a run that retrained."
            )
        if self.judge:
            check_data(run.parts)

    def prepare(self, context: AnalysisContext) -> Mapping[str, StageResult]:
        """Return a selection per way and snapshot, with `judge` their evaluations."""
        run = context.run
        if context.table is not None:
            context.table.look_up(run.parts.space.example())  # refused now, not after the selections
        made = {
            f"{epoch} {name}": stage for epoch in self._epochs(run) for name, stage in context.select_all(epoch).items()
        }
        if not made:
            raise ValueError(f"analysis={self.name} has no selection to follow. {' '.join(context.refused.values())}")
        if not self.judge:
            return made
        evaluations = {}
        plan = Plan(run.config, run.parts, context.job)
        for text in dict.fromkeys(stage.result["genotype"] for stage in made.values()):
            evaluation = plan.evaluation(Genotype.from_text(text))
            assert evaluation is not None, "check saw that the run retrains"
            evaluations[text] = run_stage(evaluation, context.job)
        return {**made, **evaluations}

    def measure(self, measurer: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per snapshot and selection, and which selections were left out."""
        context, history = measurer.context, measurer.run.history("search")
        accuracy = {record["epoch"] + 1: record["metrics"]["val_accuracy"] for record in history}
        rows: Table = []
        for epoch in self._epochs(measurer.run):
            for name in context.selections:
                if (made := prepared.get(f"{epoch} {name}")) is None:
                    continue
                text = made.result["genotype"]
                genotype = Genotype.from_text(text)
                row = {"epoch": epoch, "selection": name, "val_accuracy": accuracy[epoch]}
                row["skip_share"] = skip_share(genotype)
                if context.table is not None:
                    row |= {column: getattr(context.table.look_up(genotype), column) for column in TESTS}
                if self.judge:
                    row["test_accuracy"] = prepared[text].result["test_accuracy"]
                rows.append({**row, "genotype": text})
        selections = [{"selection": name, "left_out": context.refused.get(name, "")} for name in context.selections]
        return {"choices": rows, "selections": selections}

    def _epochs(self, run: FinishedRun) -> Sequence[int]:
        return run.snapshots if self.epochs is None else sorted(set(self.epochs))

    @styled
    def draw(self, tables: Tables) -> Figure:
        rows = tables["choices"]
        panels = [panel for panel in _PANELS if panel.column in rows[0]]
        by_selection = selection_styles(distinct(rows, "selection"))
        lines = ceil(len(panels) / _PER_LINE)
        figure, body = new_figure("What is chosen from the supernet as it was along the search", 0.7 + lines * 1.9)
        handles = [
            Line2D([], [], color=style.colour, ls=style.line, marker=style.marker, label=name)
            for name, style in by_selection.items()
        ]
        add_legend(body, handles)
        grid = body.subplots(lines, ceil(len(panels) / lines), squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _draw_panel(axes, rows, panel, by_selection)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        return figure

    def summary(self, tables: Tables) -> str:
        rows = tables["choices"]
        first, last = rows[0], rows[-1]
        words = [
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation accuracy goes from "
            f"{percent(first['val_accuracy'])} to {percent(last['val_accuracy'])}."
        ]
        for name in distinct(rows, "selection"):
            own = [row for row in rows if row["selection"] == name]
            accuracies = [_course(own, column) for column in ("test_accuracy", "cifar10_test") if column in own[0]]
            skips = [percent(row["skip_share"], 0) for row in (own[0], own[-1])]
            words.append(f"{name}: {', '.join([*accuracies, f'share of skips from {skips[0]} to {skips[1]}'])}.")
        words.append(
            "The paper sees the choices of magnitude degenerate along the search and those of perturbation not."
        )
        words += [
            f"{row['selection']} is left out: {row['left_out']}" for row in tables["selections"] if row["left_out"]
        ]
        return " ".join(words)


def _course(rows: Table, column: str) -> str:
    """Return where an accuracy begins and ends, and its mean."""
    factor, what = (100, "test accuracy") if column == "test_accuracy" else (1, table_column(column))
    values = [factor * row[column] for row in rows]
    return f"{what} from {values[0]:.1f} % to {values[-1]:.1f} % (mean {mean(values):.1f} %)"


def _draw_panel(axes: Axes, rows: Rows, panel: Panel, by_selection: Mapping[str, Style]) -> None:
    axes.set_title(panel.title)
    for name, style in {"": Style("0.35", "-", "x")}.items() if panel.common else by_selection.items():
        values = {row["epoch"]: panel.factor * row[panel.column] for row in rows if name in ("", row["selection"])}
        look: dict[str, Any] = {"color": style.colour, "ls": style.line, "marker": style.marker}
        axes.plot(list(values), list(values.values()), clip_on=False, **look)
    axes.margins(y=0.12)
    if panel.column == "skip_share":
        axes.set_ylim(-4, 104)  # a line along 0 or 100 is seen whole
    axes.set(xlabel="epochs of the search", ylabel=panel.label)
    whole_numbers(axes)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
