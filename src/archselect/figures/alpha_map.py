"""The mixture weights of a whole search at one glance: a heat map per cell and operation, edges against epochs.

The records are those of `history.jsonl`, the space is that of `space.json`, both parsed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, cell_title, new_figure, save
from archselect.figures.palette import styles
from archselect.figures.trajectories import Records, check_alpha

COLOURS = "viridis"  # the same to colour-blind readers, and in grey

# Lengths in inches.
_WIDTH, _ROW, _GAP = 1.25, 0.17, 0.12
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.9, 0.55, 0.55
_TITLE_WIDTH = 5.6


def draw_alpha_map(history: Records, space: Mapping[str, Any], path: str | Path) -> Path:
    """Draw `softmax(alpha)` of every operation over the epochs as heat maps into the PNG `path`.

    A row of maps per cell, a map per operation, a line per edge; white where an edge does not have the operation. All
    share one scale.

    Args:
        history: Records with "epoch" and "alpha": per cell one row of weights per edge.
        space: "cells": per cell the "edges" `[source, target]` and the "operations" of each.
    """
    check_alpha(history, space)
    cells = space["cells"]
    operations = list(styles(name for cell in cells.values() for edge in cell["operations"] for name in edge))
    maps = {name: weights_of(history, name, cell["operations"], operations) for name, cell in cells.items()}
    scale = Normalize(0.0, max(float(np.nanmax(weights)) for weights in maps.values()))
    width = max(_TITLE_WIDTH, _LEFT + len(operations) * (_WIDTH + _GAP) + _RIGHT)
    heights = {name: _ROW * len(cell["edges"]) for name, cell in cells.items()}
    figure = new_figure(width, 0.4 + sum(_TOP + height + _BOTTOM for height in heights.values()))
    add_title(figure, 0.15, 0.12, "Mixture weights of the operations: edges (source,target) over the epochs")
    top = 0.4
    for name, cell in cells.items():
        add_title(figure, 0.15, top + 0.08, cell_title(name), size=11)
        for column, operation in enumerate(operations):
            left = _LEFT + column * (_WIDTH + _GAP)
            axes = add_panel(figure, left, top + _TOP, _WIDTH, heights[name])
            _draw_map(axes, maps[name][column], [record["epoch"] for record in history], scale)
            axes.set_title(operation, fontsize=8, loc="left", pad=3)
            _label_edges(axes, cell["edges"], shown=column == 0)
        _add_scale(figure, scale, _LEFT + len(operations) * (_WIDTH + _GAP) + 0.1, top + _TOP, heights[name])
        top += _TOP + heights[name] + _BOTTOM
    return save(figure, path)


def weights_of(
    history: Records, cell: str, on_edges: Sequence[Sequence[str]], operations: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the weights `(operations, edges, epochs)` of a cell; NaN where an edge does not have the operation."""
    weights = np.full((len(operations), len(on_edges), len(history)), np.nan)
    for epoch, record in enumerate(history):
        for edge, names in enumerate(on_edges):
            for position, name in enumerate(names):
                weights[operations.index(name), edge, epoch] = record["alpha"][cell][edge][position]
    return weights


def _draw_map(
    axes: Axes, weights: np.ndarray[Any, np.dtype[np.float64]], epochs: Sequence[int], scale: Normalize
) -> None:
    edges = len(weights)
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, edges - 0.5, -0.5)
    axes.imshow(weights, norm=scale, cmap=COLOURS, aspect="auto", interpolation="nearest", extent=extent)
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.tick_params(color="0.6", labelsize=7)
    for spine in axes.spines.values():
        spine.set_color("0.6")


def _label_edges(axes: Axes, edges: Sequence[Sequence[int]], shown: bool) -> None:
    labels = [f"({source},{target})" for source, target in edges]
    axes.set_yticks(range(len(edges)), labels=labels if shown else [], fontsize=7)


def _add_scale(figure: Figure, scale: Normalize, left: float, top: float, height: float) -> None:
    axes = add_panel(figure, left, top, 0.12, height)
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), cax=axes)
    bar.set_label("softmax(α)", fontsize=8)
    bar.ax.tick_params(color="0.6", labelsize=7)
