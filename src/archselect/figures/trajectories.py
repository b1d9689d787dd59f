"""How a search went: the mixture weights of every edge, and accuracy and loss, over the epochs.

The records are those of `history.jsonl`, which counts epochs from 0; pictures show how many were made: 1 after the
first. The space is that of `space.json`, parsed as well.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, cell_title, new_figure, save, soften
from archselect.figures.palette import Style, styles

Records = Sequence[Mapping[str, Any]]

# Lengths in inches.
_PANEL = (1.65, 0.95)
_GAP = (0.2, 0.42)
_LEFT, _TOP, _RIGHT, _BOTTOM = 0.75, 0.45, 0.2, 0.6
_LEGEND_COLUMN = 1.55
_TITLE_WIDTH = 5.6


def draw_alpha(history: Records, space: Mapping[str, Any], path: str | Path) -> Path:
    """Draw `softmax(alpha)` of every operation over the epochs, one panel per edge, into the PNG `path`.

    The panels of a cell stand as in a matrix: a row per node, a column per source. All share their scales.

    Args:
        history: Records with "epoch" and "alpha": per cell one row of weights per edge.
        space: "cells": per cell the "edges" `[source, target]` and the "operations" of each.
    """
    check_alpha(history, space)
    cells = space["cells"]
    look = styles(operation for cell in cells.values() for edge in cell["operations"] for operation in edge)
    columns = max(1 + max(source for source, _ in cell["edges"]) for cell in cells.values())
    width = max(_TITLE_WIDTH, _LEFT + columns * (_PANEL[0] + _GAP[0]) + _RIGHT)
    lines = ceil(len(look) / max(1, int((width - 0.3) // _LEGEND_COLUMN)))
    legend = 0.6 + 0.22 * lines
    blocks = [_TOP + _rows(cell) * (_PANEL[1] + _GAP[1]) - _GAP[1] + _BOTTOM for cell in cells.values()]
    figure = new_figure(width, legend + sum(blocks))
    add_title(figure, 0.15, 0.12, "Mixture weights of the edges (source,target)")
    _add_legend(figure, look, columns=ceil(len(look) / lines))
    highest = max(weight for record in history for name in cells for edge in record["alpha"][name] for weight in edge)
    top = legend
    for (name, cell), block in zip(cells.items(), blocks, strict=True):
        add_title(figure, 0.15, top, cell_title(name), size=11)
        for axes, index in _edge_panels(figure, cell, top + _TOP):
            _draw_edge(axes, history, name, index, cell["operations"][index], look)
            axes.set_ylim(0, min(1.0, highest) * 1.06)
        top += block
    return save(figure, path)


def draw_curves(history: Records, path: str | Path) -> Path:
    """Draw accuracy and loss, in training and in validation, over the epochs into the PNG `path`.

    What a record's "metrics" lack of `train_accuracy`, `val_accuracy`, `train_loss` and `val_loss` is left out.
    """
    names = {name for record in history for name in record["metrics"]}
    wanted = {f"{part}_{metric}" for part in ("train", "val") for metric in ("accuracy", "loss")}
    if not names & wanted:
        raise ValueError(
            f"Training curves need a history with at least one of the metrics {', '.join(sorted(wanted))}; "
            f"this one has {len(history)} record(s) with {', '.join(sorted(names)) or 'none'}."
        )
    figure = new_figure(9.6, 3.5)
    panels = [("accuracy", "accuracy (%)", 100.0), ("loss", "cross-entropy loss", 1.0)]
    for index, (metric, label, factor) in enumerate(panels):
        axes = add_panel(figure, 0.75 + index * 4.8, 0.2, 3.9, 2.7)
        soften(axes)
        for part, look in (("train", Style("#0072B2", "-")), ("val", Style("#D55E00", "--", "s"))):
            points = [
                (record["epoch"] + 1, factor * record["metrics"][f"{part}_{metric}"])
                for record in history
                if f"{part}_{metric}" in record["metrics"]
            ]
            if points:
                legend = {"train": "training", "val": "validation"}[part]
                _draw_line(axes, [x for x, _ in points], [y for _, y in points], look, label=legend)
                axes.legend(frameon=False, fontsize=9)
        axes.set_xlabel("epoch", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
    return save(figure, path)


def check_alpha(history: Records, space: Mapping[str, Any]) -> None:
    """Raise a `ValueError` unless there are records and each has the weights of this space."""
    if not history:
        raise ValueError("Trajectories of alpha need a history with at least one epoch; this one has no records.")
    for record in history:
        for name, cell in space["cells"].items():
            expected = [len(edge) for edge in cell["operations"]]
            found = [len(edge) for edge in record["alpha"].get(name, [])]
            if found != expected:
                raise ValueError(
                    f"The space has {expected} operations on the edges of the {name} cell, but alpha at epoch "
                    f"{record['epoch']} has {found}. Take history.jsonl and space.json from one stage folder."
                )


def _rows(cell: Mapping[str, Any]) -> int:
    return len({target for _, target in cell["edges"]})


def _edge_panels(figure: Figure, cell: Mapping[str, Any], top: float) -> list[tuple[Axes, int]]:
    """One panel per edge, with the edge's index; only the outer panels carry the labels of the scales."""
    targets = sorted({target for _, target in cell["edges"]})
    lowest = {source: max(target for other, target in cell["edges"] if other == source) for source, _ in cell["edges"]}
    panels = []
    for index, (source, target) in enumerate(cell["edges"]):
        left = _LEFT + source * (_PANEL[0] + _GAP[0])
        axes = add_panel(figure, left, top + targets.index(target) * (_PANEL[1] + _GAP[1]), *_PANEL)
        soften(axes)
        axes.set_title(f"({source},{target})", fontsize=9, loc="left", pad=3)
        if source == 0:
            axes.set_ylabel("softmax(α)", fontsize=8)
        else:
            axes.tick_params(labelleft=False)
        if target == lowest[source]:
            axes.set_xlabel("epoch", fontsize=8)
        else:
            axes.tick_params(labelbottom=False)
        panels.append((axes, index))
    return panels


def _draw_edge(
    axes: Axes, history: Records, cell: str, edge: int, operations: Sequence[str], look: Mapping[str, Style]
) -> None:
    epochs = [record["epoch"] + 1 for record in history]
    for position, operation in enumerate(operations):
        weights = [record["alpha"][cell][edge][position] for record in history]
        _draw_line(axes, epochs, weights, look[operation])


def _draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Style, label: str | None = None) -> None:
    marker = look.marker if len(x) < 4 else None  # a line of one point would not be seen
    axes.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.6, marker=marker, markersize=4, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _add_legend(figure: Figure, look: Mapping[str, Style], columns: int) -> None:
    lines = [
        Line2D([], [], color=style.colour, linestyle=style.line, linewidth=2, label=name)
        for name, style in look.items()
    ]
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=lines,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.35 / height),
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=2.6,
    )
