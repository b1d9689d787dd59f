"""The supernet's validation accuracy while selections discretise it (DARTS-PT, Fig. 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archselect.analysis.base import AnalysisContext, Measurer, Tables
from archselect.analysis.stats import percent
from archselect.figures.style import add_legend, new_figure, styled, whole_numbers
from archselect.figures.trajectories import DECIDED
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import StageResult
from archselect.training.fit import HISTORY


@dataclass(frozen=True)
class SelectionCurve:
    """Select from the run's supernet in several ways and follow its validation accuracy from decision to decision.

    Attributes:
        name: Shown in folders and reports.
    """

    name: str = "selection_curve"
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: the selections."""
        names = [name for name in subject.selections if subject.reads_trained_alpha(name)]
        for name in names:
            if subject.plan(name).parts.selection.tuning is None:
                raise ValueError(
                    f"analysis=selection_curve follows the supernet from decision to decision, but selection={name} "
                    "decides everything at once. Leave it out of selections."
                )
        return {name: subject.select(name) for name in names}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per selection and epoch; epoch 0 is the supernet before the first decision."""
        start = bench.subject.run.stage("search").result["val_accuracy"]
        rows = []
        for name, stage in prepared.items():
            edges: list[int] = []
            nodes: list[int] = []
            for decision in stage.folder.read_lines(DECISIONS):
                (edges if decision["kind"] == "operation" else nodes).append(decision["epoch"])
            rows.append({"selection": name, "epoch": 0, "val_accuracy": start, "edges_decided": 0, "nodes_decided": 0})
            for record in stage.folder.read_lines(HISTORY):
                rows.append(
                    {
                        "selection": name,
                        "epoch": record["epoch"] + 1,
                        "val_accuracy": record["metrics"]["val_accuracy"],
                        "edges_decided": sum(epoch <= record["epoch"] for epoch in edges),
                        "nodes_decided": sum(epoch <= record["epoch"] for epoch in nodes),
                    }
                )
        return {"epochs": rows}

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_selection_curve(tables["epochs"])

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = tables["epochs"]
        names = list(dict.fromkeys(row["selection"] for row in rows))
        own = {name: [row["val_accuracy"] for row in rows if row["selection"] == name] for name in names}
        ends = sorted(names, key=lambda name: own[name][-1], reverse=True)
        words = ", ".join(
            f"{percent(own[name][-1])} with {name} (mean over its epochs {percent(sum(own[name]) / len(own[name]))})"
            for name in ends
        )
        return (
            f"The supernet begins at {percent(own[names[0]][0])} validation accuracy. When everything is decided and "
            f"tuned it is at {words}. The paper sees perturbation above PT-Mag all along. The accuracy is that on the "
            "images which train alpha, at the end of each epoch of tuning."
        )


LINES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", ":", "^"),
    ("#CC79A7", "-.", "D"),
    ("0.3", "-", "v"),
)
"""Colour, line and marker of the selections, in the order in which they come."""


@styled
def draw_selection_curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the accuracy of every selection over the epochs of tuning.

    Args:
        rows: selection, epoch, val_accuracy in [0, 1], edges_decided, nodes_decided.
    """
    figure, body = new_figure("Validation accuracy of the supernet while it is discretised", 3.2)
    axes = body.subplots()
    handles = []
    for index, name in enumerate(dict.fromkeys(row["selection"] for row in rows)):
        colour, line, marker = LINES[index % len(LINES)]
        own = [row for row in rows if row["selection"] == name]
        values = [100 * row["val_accuracy"] for row in own]
        handles += axes.plot([row["epoch"] for row in own], values, line, color=colour, marker=marker, label=name)
    decided = last_edge([row for row in rows if row["selection"] == rows[0]["selection"]])
    if decided is not None:
        axes.axvline(decided, **DECIDED, zorder=0)
        handles.append(Line2D([], [], **DECIDED, label="the last edge is decided"))
    add_legend(body, handles)
    axes.set(xlabel="epochs of tuning (0: before the first decision)", ylabel="validation accuracy (%)")
    whole_numbers(axes, 10)
    return figure


def last_edge(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return after how many epochs the last edge was decided; None where nothing was decided afterwards.

    The first row that counts the last edge is of the epoch after the decision.
    """
    most = max(row["edges_decided"] for row in rows)
    if not most or rows[-1]["nodes_decided"] == 0:
        return None
    first = next(index for index, row in enumerate(rows) if row["edges_decided"] == most)
    return float(rows[first]["epoch"]) - 0.5
