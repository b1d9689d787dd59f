"""The supernet's validation metric, such as the accuracy, while selections discretise it (DARTS-PT, Fig. 6)."""

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archselect.analysis.base import Analysis, AnalysisContext, Measurer, Prepared, Table, Tables, metric_of
from archselect.analysis.stats import mean, rows_by
from archselect.figures.style import Rows, add_legend, new_figure, selection_styles, styled, whole_numbers
from archselect.figures.trajectories import LAST_EDGE
from archselect.pipeline.selection_stage import DECISIONS
from archselect.training.fit import HISTORY


@dataclass(frozen=True)
class SelectionCurve(Analysis):
    """Select from the run's supernet in several ways and follow its validation metric from decision to decision."""

    name: str

    def prepare(self, context: AnalysisContext) -> Prepared:
        """Return the selections."""
        names = [name for name in context.selections if context.reads_trained_alpha(name)]
        for name in names:
            if context.plan(name).parts.selection.tuning is None:
                raise ValueError(
                    f"analysis=selection_curve follows the supernet from decision to decision, but selection={name} "
                    "decides everything at once. Leave it out of selections."
                )
        return {name: context.select(name) for name in names}

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per selection and epoch; epoch 0 is the supernet before the first decision."""
        key = measurer.metric.key("val")
        start = measurer.run.stage("search").result[key]
        rows: Table = []
        for name, stage in prepared.items():
            made = [(decision["kind"], decision["epoch"]) for decision in stage.folder.read_lines(DECISIONS)]
            tuned = [(one["epoch"] + 1, one["metrics"][key]) for one in stage.folder.read_lines(HISTORY)]
            rows += [
                {
                    "selection": name,
                    "epoch": epoch,
                    key: value,
                    "edges_decided": sum(kind == "operation" and at < epoch for kind, at in made),
                    "nodes_decided": sum(kind != "operation" and at < epoch for kind, at in made),
                }
                for epoch, value in [(0, start), *tuned]
            ]
        return {"epochs": rows}

    @styled
    def draw(self, tables: Tables) -> Figure:
        curves, metric = dict(rows_by(tables["epochs"], "selection")), metric_of(tables)
        figure, body = new_figure(f"Validation {metric.words} of the supernet while it is discretised", 3.2)
        axes = body.subplots()
        handles = []
        for (name, own), style in zip(curves.items(), selection_styles(curves).values(), strict=True):
            epochs, values = [row["epoch"] for row in own], [metric.factor * row[metric.key("val")] for row in own]
            handles += axes.plot(epochs, values, style.line, color=style.colour, marker=style.marker, label=name)
        if (decided := last_edge(next(iter(curves.values())))) is not None:
            axes.axvline(decided, **LAST_EDGE, zorder=0)
            handles.append(Line2D([], [], **LAST_EDGE))
        add_legend(body, handles)
        axes.set(xlabel="epochs of tuning (0: before the first decision)", ylabel=f"validation {metric.label}")
        whole_numbers(axes, 10)
        return figure

    def summary(self, tables: Tables) -> str:
        metric, selections = metric_of(tables), rows_by(tables["epochs"], "selection")
        curves = {name: [row[metric.key("val")] for row in own] for name, own in selections}
        start = metric.amount(next(iter(curves.values()))[0], digits=1)
        words = ", ".join(
            f"{metric.amount(own[-1], 1)} with {name} (mean over its epochs {metric.amount(mean(own), 1)})"
            for name, own in sorted(curves.items(), key=lambda curve: metric.sign * curve[1][-1], reverse=True)
        )
        lead = "above" if metric.mode == "max" else "ahead of"
        return (
            f"The supernet begins at {start} validation {metric.words}. When everything is decided and tuned it is at "
            f"{words}. The paper sees perturbation {lead} PT-Mag all along. The {metric.words} is that on the images "
            "which train alpha, at the end of each epoch of tuning."
        )


def last_edge(rows: Rows) -> float | None:
    """Return after how many epochs the last edge was decided; None where nothing was decided afterwards.

    The first row that counts the last edge is of the epoch after the decision.
    """
    most = rows[-1]["edges_decided"]
    if not most or not rows[-1]["nodes_decided"]:
        return None
    return next(row["epoch"] for row in rows if row["edges_decided"] == most) - 0.5
