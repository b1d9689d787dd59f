"""How a search went: the mixture weights of every edge, as lines and at one glance, accuracy and loss, over the epochs.

The records are those of `history.jsonl`, which counts epochs from 0; pictures show how many were made: 1 after the
first. The space is that of `space.json`, parsed as well.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from archselect.figures.style import (
    BLUE,
    VERMILLION,
    WIDTH,
    Rows,
    Style,
    add_legend,
    add_title,
    cell_title,
    edge_name,
    fitting_size,
    new_figure,
    parts,
    styled,
    styles,
    whole_numbers,
)

_UNIFORM: dict[str, Any] = {"color": "0.35", "linewidth": 0.7, "label": "1/n: all n operations alike"}
_NARROWEST_RANGE = 0.02  # of the scale of weights: smaller differences are not to look large


@styled
def draw_alpha(history: Rows, space: Mapping[str, Any]) -> Figure:
    """Draw `softmax(alpha)` of every operation over the epochs, one panel per edge.

    The panels of a cell stand as in a matrix: a row per node, a column per source. All share their scales, which show
    the range that is used. A line marks `1/n`, where all `n` operations of an edge are alike.

    Args:
        history: Records with "epoch" and "alpha": per cell one row of weights per edge.
        space: "cells": per cell the "edges" `[source, target]` and the "operations" of each.
    """
    check_alpha(history, space)
    cells = space["cells"]
    by_operation = styles(operation for cell in cells.values() for edge in cell["operations"] for operation in edge)
    heights = [0.55 + 0.95 * len({target for _, target in cell["edges"]}) for cell in cells.values()]
    title = "Mixture weights softmax(α) on the edges (source,target) along the search"
    figure, body = new_figure(title, 0.7 + sum(heights))
    handles = [Line2D([], [], color=style.colour, ls=style.line, label=name) for name, style in by_operation.items()]
    add_legend(body, [*handles, Line2D([], [], **_UNIFORM)])
    epochs = [record["epoch"] + 1 for record in history]
    limits = _limits(history, cells)
    for part, (name, cell) in zip(parts(body, map(cell_title, cells), heights), cells.items(), strict=True):
        panels = _edge_panels(part, [tuple(edge) for edge in cell["edges"]])
        for edge, (axes, operations) in enumerate(zip(panels, cell["operations"], strict=True)):
            axes.axhline(1 / len(operations), **_UNIFORM, zorder=1)
            for position, operation in enumerate(operations):
                weights = [record["alpha"][name][edge][position] for record in history]
                _draw_line(axes, epochs, weights, by_operation[operation])
            axes.set_ylim(limits)
        whole_numbers(axes, 4)  # of all: they share their scales
    return figure


def check_alpha(history: Rows, space: Mapping[str, Any]) -> None:
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


def _limits(history: Rows, cells: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range of all weights and of `1/n`, with a margin."""
    weights = [weight for record in history for name in cells for edge in record["alpha"][name] for weight in edge]
    weights += [1 / len(operations) for cell in cells.values() for operations in cell["operations"]]
    middle, span = (max(weights) + min(weights)) / 2, max(max(weights) - min(weights), _NARROWEST_RANGE)
    return middle - 0.56 * span, middle + 0.56 * span


def _edge_panels(figure: SubFigure, edges: Sequence[tuple[int, int]]) -> list[Axes]:
    """Return one panel per edge; only the outer panels carry the labels of the scales."""
    sources = range(1 + max(source for source, _ in edges))
    targets = sorted({target for _, target in edges})
    mosaic: list[Any] = [[edge_name((s, t)) if (s, t) in edges else "." for s in sources] for t in targets]
    panels = figure.subplot_mosaic(mosaic, sharex=True, sharey=True)
    for source, target in edges:
        axes = panels[edge_name((source, target))]
        axes.set_title(edge_name((source, target)))
        leftmost = source == min(other for other, at in edges if at == target)
        lowest = target == max(at for other, at in edges if other == source)
        axes.tick_params(labelleft=leftmost, labelbottom=lowest)
        axes.set(ylabel="softmax(α)" if leftmost else "", xlabel="epoch" if lowest else "")
    return [panels[edge_name(edge)] for edge in edges]


def _draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style) -> None:
    marker = style.marker if len(x) < 4 else None  # a line of one point would not be seen
    axes.plot(x, y, color=style.colour, linestyle=style.line, marker=marker)


LAST_EDGE: dict[str, Any] = {"color": "0.45", "lw": 1.0, "ls": "-.", "label": "the last edge is decided"}

_CURVES = (("train", "training", Style(BLUE)), ("val", "validation", Style(VERMILLION, "--", "s")))
_METRICS = {"accuracy": ("accuracy (%)", 100.0), "loss": ("cross-entropy loss (nats)", 1.0)}


@styled
def draw_curves(history: Rows, title: str, decisions: Rows = ()) -> Figure:
    """Draw accuracy and loss, in training and in validation, over the epochs.

    What a record's "metrics" lack of `train_accuracy`, `val_accuracy`, `train_loss` and `val_loss` is left out. Where
    a selection decided about operations first and about the inputs of nodes then, a line marks the change.

    Args:
        history: Records with "epoch" and "metrics".
        title: Of the figure.
        decisions: Of a selection: "kind", and "epoch": how many epochs came before.
    """
    names = {name for record in history for name in record["metrics"]}
    wanted = {f"{part}_{metric}" for part, _, _ in _CURVES for metric in _METRICS}
    if not names & wanted:
        raise ValueError(
            f"Training curves need a history with at least one of the metrics {', '.join(sorted(wanted))}; "
            f"this one has {len(history)} record(s) with {', '.join(sorted(names)) or 'none'}."
        )
    figure, body = new_figure(title, 2.7)
    handles = [Line2D([], [], color=style.colour, ls=style.line, label=label) for _, label, style in _CURVES]
    last = max((decision["epoch"] for decision in decisions if decision["kind"] == "operation"), default=0)
    marked = 0 < last < max((decision["epoch"] for decision in decisions), default=0)
    add_legend(body, [*handles, Line2D([], [], **LAST_EDGE)] if marked else handles)
    for axes, (metric, (label, factor)) in zip(body.subplots(1, 2, sharex=True), _METRICS.items(), strict=True):
        for part, _, style in _CURVES:
            known = [record for record in history if f"{part}_{metric}" in record["metrics"]]
            values = [factor * record["metrics"][f"{part}_{metric}"] for record in known]
            if known:
                _draw_line(axes, [record["epoch"] + 1 for record in known], values, style)
        if marked and last < len(history):
            axes.axvline(history[last]["epoch"] + 0.5, **LAST_EDGE, zorder=1)
        axes.set(xlabel="epoch", ylabel=label)
        whole_numbers(axes)
    return figure


_COLOURS = "RdBu_r"  # diverging; red and blue are apart to colour-blind readers too
_MAPS_PER_LINE = 8


@styled
def draw_alpha_map(history: Rows, space: Mapping[str, Any]) -> Figure:
    """Draw `softmax(alpha)` of every operation over the epochs as heat maps.

    Colours say how far a weight is above (red) or below (blue) `1/n`, where all `n` operations of its edge are alike.
    A row of maps per cell, a map per operation, a line per edge; all share one scale. The arguments are those of
    `draw_alpha`.
    """
    check_alpha(history, space)
    cells = space["cells"]
    operations = list(styles(name for cell in cells.values() for edge in cell["operations"] for name in edge))
    maps = {name: excess_of(history, name, cell["operations"], operations) for name, cell in cells.items()}
    scale = scale_of(list(maps.values()))
    lines = ceil(len(operations) / _MAPS_PER_LINE)
    columns = ceil(len(operations) / lines)
    heights = [0.55 + 0.14 * len(cell["edges"]) for cell in cells.values() for _ in range(lines)]
    title = "Mixture weights softmax(α) of the operations, relative to 1/n, along the search"
    figure, body = new_figure(title, 1.0 + sum(heights))
    note = "n: operations on the edge" + "; grey: not on this edge" * any(np.isnan(one).any() for one in maps.values())
    add_title(body, note, 8, "normal")
    grid = body.subplots(len(heights), columns, sharex=True, sharey="row", squeeze=False, height_ratios=heights)
    for row, (name, cell) in enumerate(cells.items()):
        panels = grid[row * lines : (row + 1) * lines].ravel()
        for axes, operation, excess in zip(panels, operations, maps[name], strict=False):
            _draw_map(axes, excess, [record["epoch"] + 1 for record in history], scale)
            heading = "\n".join(operation.rsplit("_", 1)) if len(operation) > 8 else operation
            axes.set_title(heading, fontsize=fitting_size(heading, 0.7 * WIDTH / columns))
        for axes in panels[len(operations) :]:
            axes.set_axis_off()
        for axes in panels[::columns]:
            axes.set_yticks(range(len(cell["edges"])), [*map(edge_name, cell["edges"])])
            axes.tick_params(axis="y", labelsize=6)
            axes.set_ylabel(f"{cell_title(name)}, edge")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    bar = body.colorbar(ScalarMappable(scale, _COLOURS), ax=grid, aspect=40, pad=0.02)
    bar.set_label("softmax(α) - 1/n")
    return figure


def excess_of(
    history: Rows, cell: str, on_edges: Sequence[Sequence[str]], operations: Sequence[str]
) -> NDArray[np.float64]:
    """Return by how much weights of a cell exceed `1/n`, `(operations, edges, epochs)`; NaN: not on that edge."""
    excess = np.full((len(operations), len(on_edges), len(history)), np.nan)
    for epoch, record in enumerate(history):
        for edge, names in enumerate(on_edges):
            for position, name in enumerate(names):
                excess[operations.index(name), edge, epoch] = record["alpha"][cell][edge][position] - 1 / len(names)
    return excess


def scale_of(maps: Sequence[NDArray[np.float64]]) -> TwoSlopeNorm:
    """Return a scale with its middle at 0 whose two ends are the lowest and the highest value."""
    lowest = min(float(np.nanmin(one)) for one in maps)
    highest = max(float(np.nanmax(one)) for one in maps)
    return TwoSlopeNorm(0.0, min(lowest, -1e-3), max(highest, 1e-3))  # equal weights are the middle


def _draw_map(axes: Axes, excess: NDArray[np.float64], epochs: Sequence[int], scale: TwoSlopeNorm) -> None:
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(excess) - 0.5, -0.5)
    axes.set_facecolor("0.75")
    axes.imshow(excess, norm=scale, cmap=_COLOURS, aspect="auto", interpolation="nearest", extent=extent)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(True)
    whole_numbers(axes, 4)
