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
from matplotlib.typing import HashableList

from archselect.figures.style import (
    WIDTH,
    Style,
    add_legend,
    add_title,
    cell_title,
    fitting,
    new_figure,
    parts,
    styled,
    styles,
    two_lines,
    whole_numbers,
)

Records = Sequence[Mapping[str, Any]]

_PANEL, _CELL = 0.95, 0.55  # inches: height of a panel; what surrounds those of a cell
_NARROWEST_RANGE = 0.02  # of the scale of weights: smaller differences are not to look large


@styled
def draw_alpha(history: Records, space: Mapping[str, Any]) -> Figure:
    """Draw `softmax(alpha)` of every operation over the epochs, one panel per edge.

    The panels of a cell stand as in a matrix: a row per node, a column per source. All share their scales, which show
    the range that is used. A line marks `1/n`, where all `n` operations of an edge are alike.

    Args:
        history: Records with "epoch" and "alpha": per cell one row of weights per edge.
        space: "cells": per cell the "edges" `[source, target]` and the "operations" of each.
    """
    check_alpha(history, space)
    cells = space["cells"]
    look = styles(operation for cell in cells.values() for edge in cell["operations"] for operation in edge)
    heights = [_CELL + _PANEL * len(_targets(cell)) for cell in cells.values()]
    title = "Mixture weights softmax(α) on the edges (source,target) along the search"
    figure, body = new_figure(title, 0.7 + sum(heights))
    handles = [Line2D([], [], color=style.colour, ls=style.line, label=name) for name, style in look.items()]
    handles.append(Line2D([], [], **_ALIKE, label="1/n: all n operations alike"))
    add_legend(body, handles)
    limits = _limits(history, cells)
    for part, (name, cell) in zip(parts(body, map(cell_title, cells), heights), cells.items(), strict=True):
        for axes, edge in _edge_panels(part, cell):
            operations = cell["operations"][edge]
            axes.axhline(1 / len(operations), **_ALIKE, zorder=1)
            _draw_edge(axes, history, name, edge, operations, look)
            axes.set_ylim(limits)
        whole_numbers(axes, 4)  # of all: they share their scales
    return figure


_ALIKE: dict[str, Any] = {"color": "0.35", "linewidth": 0.7}


@styled
def draw_curves(history: Records, title: str, decisions: Records = ()) -> Figure:
    """Draw accuracy and loss, in training and in validation, over the epochs.

    What a record's "metrics" lack of `train_accuracy`, `val_accuracy`, `train_loss` and `val_loss` is left out. Where
    a selection decided about operations first and about the inputs of nodes then, a line marks the change.

    Args:
        history: Records with "epoch" and "metrics".
        title: Of the figure.
        decisions: Of a selection: "kind", and "epoch": how many epochs came before.
    """
    names = {name for record in history for name in record["metrics"]}
    wanted = {f"{part}_{metric}" for part in ("train", "val") for metric in ("accuracy", "loss")}
    if not names & wanted:
        raise ValueError(
            f"Training curves need a history with at least one of the metrics {', '.join(sorted(wanted))}; "
            f"this one has {len(history)} record(s) with {', '.join(sorted(names)) or 'none'}."
        )
    figure, body = new_figure(title, 2.7)
    handles = [Line2D([], [], color=look.colour, ls=look.line, label=label) for _, label, look in _CURVES]
    last = max((decision["epoch"] for decision in decisions if decision["kind"] == "operation"), default=0)
    decided = last if 0 < last < max(decision["epoch"] for decision in decisions) else None
    if decided is not None:
        handles.append(Line2D([], [], **DECIDED, label="the last edge is decided"))
    add_legend(body, handles)
    panels = [("accuracy", "accuracy (%)", 100.0), ("loss", "cross-entropy loss (nats)", 1.0)]
    for axes, (metric, label, factor) in zip(body.subplots(1, 2, sharex=True), panels, strict=True):
        for part, _, look in _CURVES:
            known = [record for record in history if f"{part}_{metric}" in record["metrics"]]
            values = [factor * record["metrics"][f"{part}_{metric}"] for record in known]
            if known:
                _draw_line(axes, [record["epoch"] + 1 for record in known], values, look)
        if decided is not None and decided < len(history):
            axes.axvline(history[decided]["epoch"] + 0.5, **DECIDED, zorder=1)
        axes.set(xlabel="epoch", ylabel=label)
        whole_numbers(axes)
    return figure


_CURVES = (("train", "training", Style("#0072B2")), ("val", "validation", Style("#D55E00", "--", "s")))
DECIDED: dict[str, Any] = {"color": "0.45", "linewidth": 1.0, "linestyle": "-."}
"""The line where the last edge is decided."""


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


def _limits(history: Records, cells: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range of all weights and of `1/n`, with a margin."""
    weights = [weight for record in history for name in cells for edge in record["alpha"][name] for weight in edge]
    weights += [1 / len(operations) for cell in cells.values() for operations in cell["operations"]]
    margin = 0.06 * max(max(weights) - min(weights), _NARROWEST_RANGE)
    missing = max(0.0, _NARROWEST_RANGE - (max(weights) - min(weights))) / 2
    return min(weights) - missing - margin, max(weights) + missing + margin


def _targets(cell: Mapping[str, Any]) -> list[int]:
    return sorted({target for _, target in cell["edges"]})


def _edge_panels(figure: SubFigure, cell: Mapping[str, Any]) -> list[tuple[Axes, int]]:
    """One panel per edge, with the edge's index; only the outer panels carry the labels of the scales."""
    edges = [tuple(edge) for edge in cell["edges"]]
    sources = range(1 + max(source for source, _ in edges))
    names: list[HashableList[str]] = [
        [f"({source},{target})" if (source, target) in edges else "." for source in sources]
        for target in _targets(cell)
    ]
    panels = figure.subplot_mosaic(names, sharex=True, sharey=True)
    lowest = {source: max(target for other, target in edges if other == source) for source, _ in edges}
    first = {target: min(source for source, other in edges if other == target) for _, target in edges}
    for source, target in edges:
        axes = panels[f"({source},{target})"]
        axes.set_title(f"({source},{target})")
        axes.tick_params(labelleft=source == first[target], labelbottom=target == lowest[source])
        if source == first[target]:
            axes.set_ylabel("softmax(α)")
        if target == lowest[source]:
            axes.set_xlabel("epoch")
    return [(panels[f"({source},{target})"], index) for index, (source, target) in enumerate(edges)]


def _draw_edge(
    axes: Axes, history: Records, cell: str, edge: int, operations: Sequence[str], look: Mapping[str, Style]
) -> None:
    epochs = [record["epoch"] + 1 for record in history]
    for position, operation in enumerate(operations):
        _draw_line(axes, epochs, [record["alpha"][cell][edge][position] for record in history], look[operation])


def _draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Style) -> None:
    marker = look.marker if len(x) < 4 else None  # a line of one point would not be seen
    axes.plot(x, y, color=look.colour, linestyle=look.line, marker=marker)


COLOURS = "RdBu_r"  # diverging; red and blue are apart to colour-blind readers too
_ABSENT = "0.75"
_PER_LINE = 8  # maps side by side
_ROW, _LINE = 0.14, 0.55  # inches of an edge; of the names and scales around a line of maps


@styled
def draw_alpha_map(history: Records, space: Mapping[str, Any]) -> Figure:
    """Draw `softmax(alpha)` of every operation over the epochs as heat maps.

    Colours say how far a weight is above (red) or below (blue) `1/n`, where all `n` operations of its edge are alike.
    A row of maps per cell, a map per operation, a line per edge; all share one scale.

    Args:
        history: Records with "epoch" and "alpha": per cell one row of weights per edge.
        space: "cells": per cell the "edges" `[source, target]` and the "operations" of each.
    """
    check_alpha(history, space)
    cells = space["cells"]
    operations = list(styles(name for cell in cells.values() for edge in cell["operations"] for name in edge))
    maps = {name: excess_of(history, name, cell["operations"], operations) for name, cell in cells.items()}
    scale = scale_of(list(maps.values()))
    lines = ceil(len(operations) / _PER_LINE)
    columns = ceil(len(operations) / lines)
    heights = [_ROW * len(cell["edges"]) + _LINE for cell in cells.values()]
    title = "Mixture weights softmax(α) of the operations, relative to 1/n, along the search"
    figure, body = new_figure(title, 1.0 + lines * sum(heights))
    note = "n: operations on the edge" + "; grey: not on this edge" * any(np.isnan(one).any() for one in maps.values())
    add_title(body, note, 8, "normal")
    ratios = [height for height in heights for _ in range(lines)]
    grid = body.subplots(len(ratios), columns, sharex=True, sharey="row", squeeze=False, height_ratios=ratios)
    for row, (name, cell) in enumerate(cells.items()):
        panels = grid[row * lines : (row + 1) * lines].ravel()
        for axes, operation, excess in zip(panels, operations, maps[name], strict=False):
            _draw_map(axes, excess, [record["epoch"] + 1 for record in history], scale)
            heading = two_lines(operation)
            axes.set_title(heading, fontsize=fitting(heading, 0.7 * WIDTH / columns))
        for axes in panels[len(operations) :]:
            axes.set_axis_off()
        for axes in panels[::columns]:
            axes.set_yticks(range(len(cell["edges"])), [f"({source},{target})" for source, target in cell["edges"]])
            axes.tick_params(axis="y", labelsize=6)
            axes.set_ylabel(f"{cell_title(name)}, edge")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    bar = body.colorbar(ScalarMappable(scale, COLOURS), ax=grid, aspect=40, pad=0.02)
    bar.set_label("softmax(α) - 1/n")
    return figure


def excess_of(
    history: Records, cell: str, on_edges: Sequence[Sequence[str]], operations: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return by how much weights of a cell exceed `1/n`, `(operations, edges, epochs)`; NaN: not on that edge."""
    excess = np.full((len(operations), len(on_edges), len(history)), np.nan)
    for epoch, record in enumerate(history):
        for edge, names in enumerate(on_edges):
            for position, name in enumerate(names):
                excess[operations.index(name), edge, epoch] = record["alpha"][cell][edge][position] - 1 / len(names)
    return excess


def scale_of(maps: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> TwoSlopeNorm:
    """Return a scale with its middle at 0 whose two ends are the lowest and the highest value."""
    lowest = min(float(np.nanmin(one)) for one in maps)
    highest = max(float(np.nanmax(one)) for one in maps)
    return TwoSlopeNorm(0.0, min(lowest, -1e-3), max(highest, 1e-3))  # equal weights are the middle


def _draw_map(
    axes: Axes, excess: np.ndarray[Any, np.dtype[np.float64]], epochs: Sequence[int], scale: TwoSlopeNorm
) -> None:
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(excess) - 0.5, -0.5)
    axes.set_facecolor(_ABSENT)
    axes.imshow(excess, norm=scale, cmap=COLOURS, aspect="auto", interpolation="nearest", extent=extent)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(True)
    whole_numbers(axes, 4)
