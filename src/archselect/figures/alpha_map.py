"""The mixture weights of a whole search at one glance: a heat map per cell and operation, edges against epochs.

The records are those of `history.jsonl`, the space is that of `space.json`, both parsed.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from archselect.figures.canvas import (
    WIDTH,
    add_title,
    cell_title,
    fitting,
    new_figure,
    styled,
    two_lines,
    whole_numbers,
)
from archselect.figures.palette import styles
from archselect.figures.trajectories import Records, check_alpha

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
