"""The panels of a dashboard, for a section of the workspace or a part of the report.

Panels ask for what a run logs by name; `pipeline.loggers` logs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import wandb_workspaces.reports.v2 as wr

from archselect.pipeline.loggers import alpha_key
from archselect.results.costs import COSTS
from archselect.results.formatting import cost_key
from archselect.results.metric import ACCURACY, Metric
from archselect.results.summaries import Choices

Cells = Mapping[str, Mapping[str, list[str]]]
"""Per cell type and edge, such as "0-2", the keys of its operations."""

GROUPING = tuple(f"{group}.name" for group in (*Choices._fields, "task"))
"""Config keys: runs that agree in all of these are averaged, as in the report on a `logs` folder."""

SPACE = "search_space.value.name"
"""The config key of the search space as W&B stores it: what is nested lies below `value`."""

PAPER, LEAD = "paper/test_accuracy", "paper/lead"
MOST_LINES = 100
OVER_SEEDS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev", "max_runs_to_show": MOST_LINES}


class Chapter(NamedTuple):
    """Panels of the library under one title; `columns` of them stand beside each other in the workspace."""

    title: str
    panels: list[Any]
    columns: int


def alpha_keys(spaces: Iterable[Mapping[str, Any]]) -> Cells:
    """Return the keys of the mixture weights while searching, of all spaces together.

    Args:
        spaces: Descriptions, `SearchSpace.describe()`.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for space in spaces:
        for cell, description in space["cells"].items():
            for edge, operations in zip(description["edges"], description["operations"], strict=True):
                keys = found.setdefault(cell, {}).setdefault("{}-{}".format(*edge), [])
                keys += [key for name in operations if (key := f"search/{alpha_key(cell, edge, name)}") not in keys]
    return found


def test_key(metric: Metric) -> str:
    """Return the key of the metric on the test images, as it is shown."""
    return f"result/{metric.key('test')}"


def chapters(cells: Cells, with_details: bool, metrics: Sequence[Metric] = (ACCURACY,)) -> list[Chapter]:
    """Return new panels each time: the library changes their places when it lays them out.

    Args:
        cells: Whose mixture weights are shown.
        with_details: Whether the mixture weights are shown edge by edge too, and the strengths of the operations.
        metrics: Of the tasks whose runs are shown.
    """
    found = [Chapter("Results", _results(metrics), 2), Chapter("Costs", _costs(metrics), 3)]
    for stage, title in (("search", "Search"), ("selection", "Selection: tuning between the decisions")):
        entropy = [f"{stage}/entropy/{cell}" for cell in cells]
        mixtures = [
            _lines("Entropy of the mixtures, mean over the edges", stage, entropy),
            _lines("Share of skip connections, by magnitude", stage, [f"{stage}/skip_share"]),
        ]
        found.append(Chapter(title, _metrics_and_loss(stage, metrics) + mixtures, 3))
    retraining = "Evaluation: the selected network trained from scratch"
    found.append(Chapter(retraining, _metrics_and_loss("evaluation", metrics), 2))
    heat_maps = [
        _pictures("Heat maps of alpha while searching", "search_alpha_map"),
        _pictures("Alpha while searching, edge by edge", "search_alpha"),
        _pictures("Heat maps of alpha while selecting: 1 where an edge is decided", "selection_alpha_map"),
    ]
    found.append(Chapter("Heat maps of alpha", heat_maps, 1))
    for cell, edges in cells.items() if with_details else ():
        title = "Alpha" if cell == "cell" else f"Alpha of the {cell} cell"
        panels = [_lines(f"softmax(alpha) of {edge}", "search", keys) for edge, keys in edges.items()]
        found.append(Chapter(f"{title}, edge by edge", panels, 4))
    found.append(Chapter("Cells", [_pictures("Selected cells", "cells"), _table("genotypes")], 1))
    scores = [
        _pictures("Scores of the operations", "operation_strengths"),
        _pictures("Scores of the in-edges", "topology_strengths"),
    ]
    found.append(Chapter("Decisions", [_table("decisions"), *scores], 1))
    if with_details:
        title = "Strengths (runs with selection.report_strengths=true)"
        found.append(Chapter(title, [_table("strengths"), _pictures("Strengths", "strengths")], 1))
    return found


def _results(metrics: Sequence[Metric]) -> list[Any]:
    """What was found in the metric of each task, accuracies beside the paper's, and what it may come from."""
    bars, points = [], []
    for metric in metrics:
        if metric == ACCURACY:
            bars.append(_bars("Test accuracy and the paper's, %", [test_key(metric), PAPER]))
            bars.append(_bars("Test accuracy less the paper's, points", [LEAD]))
        else:
            bars.append(_bars(f"Test {metric.label}", [test_key(metric)]))
        title = f"Validation {metric.words} of the supernet against test {metric.words} of what was selected"
        points.append(_points(title, f"search/{metric.key('val')}", test_key(metric)))
    return [*bars, _bars("Share of skip connections in what was selected", ["result/skip_share"]), *points]


def _costs(metrics: Sequence[Metric]) -> list[Any]:
    """The metric of each task against each cost; the line is the best at a cost, the Pareto front."""
    return [
        _points(
            f"Test {metric.words} against {cost.name}",
            cost_key(cost),
            test_key(metric),
            log_x=True,
            running_ymax=metric.mode == "max",
            running_ymin=metric.mode == "min",
        )
        for metric in metrics
        for cost in COSTS
    ]


def _points(title: str, x: str, y: str, **look: bool) -> wr.ScatterPlot:
    layout = wr.Layout(w=8, h=6)
    return wr.ScatterPlot(title=title, x=wr.SummaryMetric(x), y=wr.SummaryMetric(y), layout=layout, **look)


def _metrics_and_loss(stage: str, metrics: Sequence[Metric]) -> list[Any]:
    names = {**{metric.name: metric.words for metric in metrics}, "loss": "loss"}
    return [
        _lines(f"{title} {words}", stage, [f"{stage}/{part}_{name}"])
        for name, words in names.items()
        for part, title in (("val", "Validation"), ("train", "Training"))
    ]


def _lines(title: str, stage: str, keys: Sequence[str]) -> wr.LinePlot:
    x, layout = f"{stage}/epoch", wr.Layout(w=8, h=6)
    return wr.LinePlot(
        title=title, x=x, y=list(keys), title_x="epoch", smoothing_type="none", layout=layout, **OVER_SEEDS
    )


def _bars(title: str, keys: Sequence[str]) -> wr.BarPlot:
    layout = wr.Layout(w=12, h=8)
    return wr.BarPlot(title=title, metrics=list(keys), max_bars_to_show=MOST_LINES, layout=layout, **OVER_SEEDS)


def _pictures(title: str, name: str) -> wr.MediaBrowser:
    return wr.MediaBrowser(title=title, media_keys=[f"figures/{name}"], num_columns=2, layout=wr.Layout(w=24, h=14))


def _table(name: str) -> wr.WeavePanelSummaryTable:
    return wr.WeavePanelSummaryTable(table_name=f"tables/{name}", layout=wr.Layout(w=24, h=14))
