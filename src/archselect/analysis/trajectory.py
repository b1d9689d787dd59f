"""What selections choose along the search, and how good it is (DARTS-PT, Fig. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.selection_curve import LINES
from archselect.analysis.stats import percent, table_column
from archselect.evaluation import Retraining
from archselect.evaluation.nasbench201 import RANKS
from archselect.figures.style import add_legend, new_figure, styled, whole_numbers
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.preflight import check_data
from archselect.pipeline.stage import StageResult
from archselect.results.summaries import skip_share
from archselect.utils.validation import FLAG, POSITIVE_INT

TESTS = tuple(RANKS.values())
"""The columns of the NAS-Bench-201 table with test accuracies."""


@dataclass(frozen=True)
class Trajectory:
    """Select from the supernet as it was after so many epochs, in several ways.

    Attributes:
        name: Shown in folders and reports.
        epochs: After how many epochs; null: wherever the search kept the supernet.
        judge: Whether every architecture is retrained as the run's own was.
    """

    name: str = "trajectory"
    epochs: Sequence[int] | None = None
    judge: bool = False
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        FLAG.check("analysis.judge", self.judge)
        if self.epochs is not None:
            if isinstance(self.epochs, str) or not isinstance(self.epochs, Sequence) or not self.epochs:
                raise ValueError(
                    "analysis.epochs must be a list such as [10, 30, 50], or null for all snapshots; got "
                    f"{self.epochs!r}."
                )
            for epoch in self.epochs:
                POSITIVE_INT.check("analysis.epochs", epoch)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        run = runs[0]
        kept = run.snapshots
        if not kept:
            raise ValueError(
                f"analysis={self.name} selects from snapshots of the supernet, and the search of the run {run.folder} "
                "kept none. Search with search.snapshots=N to keep one after every N epochs."
            )
        lacking = [str(epoch) for epoch in self.epochs or () if epoch not in kept]
        if lacking:
            raise ValueError(
                f"analysis.epochs names {', '.join(lacking)}, but the search kept the supernet after "
                f"{', '.join(map(str, kept))} epochs. Choose among these, or null for all."
            )
        if self.judge and not isinstance(run.parts.evaluation, Retraining):
            raise ValueError(
                f"analysis.judge=true retrains what is chosen as the run's own architecture was, but the run "
                f"{run.folder} has evaluation={run.parts.evaluation.name}. Leave it out, or name a run that retrained."
            )
        if self.judge:
            check_data(run.parts)

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: a selection per way and snapshot, with `judge` their evaluations."""
        table = subject.table
        if table is not None:
            table.look_up(subject.run.parts.space.example())  # refused now, not after the selections
        made = {
            f"{epoch} {name}": stage
            for epoch in self._epochs(subject)
            for name, stage in subject.select_all(epoch).items()
        }
        if not made:
            raise ValueError(f"analysis={self.name} has no selection to follow. {' '.join(subject.refused.values())}")
        if not self.judge:
            return made
        judged = {}
        for text in dict.fromkeys(stage.result["genotype"] for stage in made.values()):
            evaluation = subject.judge(Genotype.from_text(text))
            assert evaluation is not None, "check saw that the run retrains"
            judged[text] = evaluation
        return {**made, **judged}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per snapshot and selection, and which selections were left out."""
        subject = bench.subject
        table = subject.table
        accuracy = {record["epoch"] + 1: record["metrics"]["val_accuracy"] for record in subject.run.history("search")}
        rows: Table = []
        for epoch in self._epochs(subject):
            for name in subject.selections:
                if (made := prepared.get(f"{epoch} {name}")) is None:
                    continue
                text = made.result["genotype"]
                genotype = Genotype.from_text(text)
                row = {"epoch": epoch, "selection": name, "val_accuracy": accuracy[epoch]}
                row["skip_share"] = skip_share(genotype)
                if table is not None:
                    row |= {column: getattr(table.look_up(genotype), column) for column in TESTS}
                if self.judge:
                    row["test_accuracy"] = prepared[text].result["test_accuracy"]
                rows.append({**row, "genotype": text})
        selections = [{"selection": name, "left_out": subject.refused.get(name, "")} for name in subject.selections]
        return {"choices": rows, "selections": selections}

    def _epochs(self, subject: AnalysisContext) -> Sequence[int]:
        return subject.run.snapshots if self.epochs is None else sorted(set(self.epochs))

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        rows = tables["choices"]
        panels = [Panel(column, table_column(column), "accuracy (%)") for column in TESTS if column in rows[0]]
        if "test_accuracy" in rows[0]:
            panels.append(Panel("test_accuracy", "test accuracy, retrained", "accuracy (%)", 100))
        panels += [
            Panel("skip_share", "share of skip connections", "edges of the architecture (%)", 100),
            Panel("val_accuracy", "the supernet", "validation accuracy (%)", 100, common=True),
        ]
        return draw_selection_trajectory(rows, panels)

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = tables["choices"]
        first, last = rows[0], rows[-1]
        words = [
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation accuracy goes from "
            f"{percent(first['val_accuracy'])} to {percent(last['val_accuracy'])}."
        ]
        for name in dict.fromkeys(row["selection"] for row in rows):
            own = [row for row in rows if row["selection"] == name]
            parts = [f"share of skips from {percent(own[0]['skip_share'], 0)} to {percent(own[-1]['skip_share'], 0)}"]
            for column in ("cifar10_test", "test_accuracy"):
                if column in own[0]:
                    parts.insert(0, _course(own, column))
            words.append(f"{name}: {', '.join(parts)}.")
        words.append(
            "The paper sees the choices of magnitude degenerate along the search and those of perturbation not."
        )
        words += [
            f"{row['selection']} is left out: {row['left_out']}" for row in tables["selections"] if row["left_out"]
        ]
        return " ".join(words)


def _course(rows: Table, column: str) -> str:
    """Return where an accuracy begins and ends, and its mean."""
    factor = 100 if column == "test_accuracy" else 1
    values: list[Any] = [factor * row[column] for row in rows]
    what = "test accuracy" if column == "test_accuracy" else table_column(column)
    mean = sum(values) / len(values)
    return f"{what} from {values[0]:.1f} % to {values[-1]:.1f} % (mean {mean:.1f} %)"


Rows = Sequence[Mapping[str, Any]]

_PER_ROW = 3
_PANEL = 1.9  # inches


@dataclass(frozen=True)
class Panel:
    """One quantity.

    Attributes:
        column: Of the rows.
        title: Above the panel.
        label: Of its axis, with the unit.
        factor: From the column to the unit.
        common: Whether all selections have the same value, so that one line says it.
    """

    column: str
    title: str
    label: str
    factor: float = 1.0
    common: bool = False


@styled
def draw_selection_trajectory(rows: Rows, panels: Sequence[Panel]) -> Figure:
    """Draw every quantity over the epochs.

    Args:
        rows: epoch, selection, and a column per panel.
        panels: What is drawn.
    """
    lines = ceil(len(panels) / _PER_ROW)
    title = "What is chosen from the supernet as it was along the search"
    figure, body = new_figure(title, 0.7 + lines * _PANEL)
    names = list(dict.fromkeys(row["selection"] for row in rows))
    looks = {name: LINES[index % len(LINES)] for index, name in enumerate(names)}
    add_legend(body, [_in_legend(name, *look) for name, look in looks.items()])
    grid = body.subplots(lines, ceil(len(panels) / lines), squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, rows, panel, looks)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _in_legend(name: str, colour: str, line: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, ls=line, marker=marker, label=name)


def _draw_panel(axes: Axes, rows: Rows, panel: Panel, looks: Mapping[str, tuple[str, str, str]]) -> None:
    axes.set_title(panel.title)
    chosen = {"": ("0.35", "-", "x")} if panel.common else looks
    for name, (colour, line, marker) in chosen.items():
        values = {row["epoch"]: panel.factor * row[panel.column] for row in rows if name in ("", row["selection"])}
        axes.plot(list(values), list(values.values()), line, color=colour, marker=marker, clip_on=False)
    axes.margins(y=0.12)
    if panel.column == "skip_share":
        axes.set_ylim(-4, 104)  # a line along 0 or 100 is seen whole
    axes.set(xlabel="epochs of the search", ylabel=panel.label)
    whole_numbers(axes)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
