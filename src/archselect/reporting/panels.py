"""The panels of a dashboard, for a section of the workspace or a part of the report.

Panels ask for what a run logs by name; `pipeline.loggers` logs it. Every function makes new panels: the library changes
their places when it lays them out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from archselect.pipeline.loggers import alpha_key
from archselect.results.summaries import Choices

Cells = Mapping[str, Mapping[str, list[str]]]
"""Per cell type and edge, such as "0-2", the keys of its operations."""

GROUPING = tuple(f"{group}.name" for group in Choices._fields)
"""Config keys: runs that agree in all of these are averaged, as in the report on a `logs` folder."""

SPACE = "search_space.value.name"
"""The config key of the search space as W&B stores it: what is nested lies below `value`."""

TEST_ACCURACY, PAPER, LEAD = "result/test_accuracy", "paper/test_accuracy", "paper/lead"
SKIP_SHARE, SUPERNET = "result/skip_share", "search/val_accuracy"


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


Panel = Any
"""A panel of the library."""

MOST_LINES = 100
_THIRD, _HALF, _WHOLE = (8, 6), (12, 8), (24, 14)  # width and height, of a page 24 wide


@dataclass(frozen=True)
class Chapter:
    """Panels under one title.

    Attributes:
        title: Of the section.
        panels: In order.
        columns: How many stand beside each other in the workspace.
    """

    title: str
    panels: Sequence[Panel]
    columns: int = 3


def results() -> Chapter:
    """Return the accuracies of what was found, beside the paper's, and what they may come from."""
    panels = [
        _bars("Test accuracy and the paper's, %", [TEST_ACCURACY, PAPER]),
        _bars("Test accuracy less the paper's, points", [LEAD]),
        _bars("Share of skip connections in what was selected", [SKIP_SHARE]),
        wr.ScatterPlot(
            title="Validation accuracy of the supernet against test accuracy of what was selected",
            x=wr.SummaryMetric(SUPERNET),
            y=wr.SummaryMetric(TEST_ACCURACY),
            layout=_layout(_THIRD),
        ),
    ]
    return Chapter("Results", panels, columns=2)


def supernet_curves(stage: str, title: str, cells: Iterable[str]) -> Chapter:
    """Return accuracy, loss, entropy and skip connections of a stage that trains a supernet."""
    entropies = [f"{stage}/entropy/{cell}" for cell in cells]
    panels = [
        *_accuracy_and_loss(stage),
        _curves("Entropy of the mixtures, mean over the edges", stage, entropies),
        _curves("Share of skip connections, by magnitude", stage, [f"{stage}/skip_share"]),
    ]
    return Chapter(title, panels)


def retraining_curves() -> Chapter:
    """Return accuracy and loss of the network that was selected."""
    return Chapter("Evaluation: the selected network trained from scratch", _accuracy_and_loss("evaluation"), 2)


def alpha_lines(cell: str, cells: Cells) -> Chapter:
    """Return a panel per edge of a cell type: the mixture weights of its operations."""
    title = "Alpha" if cell == "cell" else f"Alpha of the {cell} cell"
    panels = [_curves(f"softmax(alpha) of {edge}", "search", keys) for edge, keys in cells[cell].items()]
    return Chapter(f"{title}, edge by edge", panels, columns=4)


def alpha_maps() -> Chapter:
    """Return the mixture weights of whole searches and selections as pictures, run by run."""
    panels = [
        _pictures("Heat maps of alpha while searching", "search_alpha_map"),
        _pictures("Alpha while searching, edge by edge", "search_alpha"),
        _pictures("Heat maps of alpha while selecting: 1 where an edge is decided", "selection_alpha_map"),
    ]
    return Chapter("Heat maps of alpha", panels, columns=1)


def cells_found() -> Chapter:
    """Return the pictures of the cells, and the genotypes as text."""
    return Chapter("Cells", [_pictures("Selected cells", "cells"), _table("genotypes")], columns=1)


def decisions() -> Chapter:
    """Return what was decided, and every score behind it."""
    panels = [
        _table("decisions"),
        _pictures("Scores of the operations", "operation_strengths"),
        _pictures("Scores of the in-edges", "topology_strengths"),
    ]
    return Chapter("Decisions", panels, columns=1)


def strengths() -> Chapter:
    """Return how strong a selection takes operations to be; runs with selection.report_strengths=true have it."""
    panels = [_table("strengths"), _pictures("Strengths", "strengths")]
    return Chapter("Strengths (runs with selection.report_strengths=true)", panels, columns=1)


def _accuracy_and_loss(stage: str) -> list[Panel]:
    titles = {"val": "Validation", "train": "Training"}
    return [
        _curves(f"{titles[part]} {metric}", stage, [f"{stage}/{part}_{metric}"])
        for metric in ("accuracy", "loss")
        for part in titles
    ]


def _curves(title: str, stage: str, keys: Sequence[str]) -> wr.LinePlot:
    """Mean and standard deviation over the runs of a group, that is, over the seeds."""
    return wr.LinePlot(
        title=title,
        x=f"{stage}/epoch",
        y=list(keys),
        title_x="epoch",
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        smoothing_type="none",
        max_runs_to_show=MOST_LINES,
        layout=_layout(_THIRD),
    )


def _bars(title: str, keys: Sequence[str]) -> wr.BarPlot:
    return wr.BarPlot(
        title=title,
        metrics=list(keys),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=MOST_LINES,
        max_bars_to_show=MOST_LINES,
        layout=_layout(_HALF),
    )


def _pictures(title: str, name: str) -> wr.MediaBrowser:
    return wr.MediaBrowser(title=title, media_keys=[f"figures/{name}"], num_columns=2, layout=_layout(_WHOLE))


def _table(name: str) -> wr.WeavePanelSummaryTable:
    return wr.WeavePanelSummaryTable(table_name=f"tables/{name}", layout=_layout(_WHOLE))


def _layout(size: tuple[int, int]) -> wr.Layout:
    return wr.Layout(w=size[0], h=size[1])
