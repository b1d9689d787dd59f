"""How a search went: the mixture weights of every edge, as lines and at one glance, metric and loss, over the epochs.

The records are those of `history.jsonl`, which counts epochs from 0; pictures show how many were made: 1 after the
first. The space is that of `space.json`, parsed as well.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from pandas import DataFrame

from archselect.figures import style
from archselect.figures.style import BLUE, VERMILLION, Rows, Style, cell_title, edge_name, styled, whole_numbers
from archselect.results.metric import ACCURACY, Metric

_UNIFORM: dict[str, Any] = {"color": "0.35", "linewidth": 0.7, "label": "1/n: all n operations alike"}


@styled
def draw_alpha(history: Rows, space: Mapping[str, Any]) -> Figure:
    """Draw `softmax(alpha)` of every operation over the epochs, one panel per edge.

    The panels of a cell stand as in a matrix: a row per node, a column per source. All share their scales, which show
    the range that is used. A line marks `1/n`, where all `n` operations of an edge are alike.

    Args:
        history: Records with "epoch" and "alpha": per cell one row of weights per edge.
        space: "cells": per cell the "edges" `[source, target]` and the "operations" of each.
    """
    weights = weights_of(history, space)
    cells, by_operation = space["cells"], style.styles(weights["operation"])
    heights = [0.55 + 0.95 * len({target for _, target in cell["edges"]}) for cell in cells.values()]
    title = "Mixture weights softmax(α) on the edges (source,target) along the search"
    figure, body = style.new_figure(title, 0.7 + sum(heights))
    style.add_legend(body, [*map(style.legend_line, by_operation, by_operation.values()), Line2D([], [], **_UNIFORM)])
    used = style.limits([*weights["weight"], *weights["uniform"]], 0.02)  # smaller differences are not to look large
    for part, (name, cell) in zip(style.parts(body, map(cell_title, cells), heights), cells.items(), strict=True):
        panels = _edge_panels(part, [tuple(edge) for edge in cell["edges"]])
        for edge, lines in weights[weights["cell"] == name].groupby("edge", sort=False):
            axes = panels[edge]
            axes.axhline(lines["uniform"].iloc[0], **_UNIFORM, zorder=1)
            for operation, line in lines.groupby("operation", sort=False):
                _draw_line(axes, line["epoch"], line["weight"], by_operation[operation])
            axes.set_ylim(used)
        whole_numbers(axes, 4)  # of all: they share their scales
    return figure


def weights_of(history: Rows, space: Mapping[str, Any]) -> DataFrame:
    """Return cell, edge, operation, epoch, weight and `uniform`, `1/n` where the edge has `n` operations, in rows.

    Raises:
        ValueError: There are no records, or one has not the weights of this space.
    """
    if not history:
        raise ValueError("Trajectories of alpha need a history with at least one epoch; this one has no records.")
    rows = []
    for record in history:
        for name, cell in space["cells"].items():
            expected, weights = [len(edge) for edge in cell["operations"]], record["alpha"].get(name, [])
            if (found := [len(edge) for edge in weights]) != expected:
                raise ValueError(
                    f"The space has {expected} operations on the edges of the {name} cell, but alpha at epoch "
                    f"{record['epoch']} has {found}. Take history.jsonl and space.json from one stage folder."
                )
            rows += [
                (name, edge_name(edge), operation, record["epoch"] + 1, weight, 1 / len(operations))
                for edge, operations, own in zip(cell["edges"], cell["operations"], weights, strict=True)
                for operation, weight in zip(operations, own, strict=True)
            ]
    return DataFrame(rows, columns=["cell", "edge", "operation", "epoch", "weight", "uniform"])


def _edge_panels(figure: SubFigure, edges: Sequence[tuple[int, int]]) -> dict[str, Axes]:
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
    return panels


def _draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Style) -> None:
    marker = look.marker if len(x) < 4 else None  # a line of one point would not be seen
    axes.plot(x, y, color=look.colour, linestyle=look.line, marker=marker)


LAST_EDGE: dict[str, Any] = {"color": "0.45", "lw": 1.0, "ls": "-.", "label": "the last edge is decided"}

_CURVES = {"train": Style(BLUE), "val": Style(VERMILLION, "--", "s")}


@styled
def draw_curves(history: Rows, title: str, decisions: Rows = (), metric: Metric = ACCURACY) -> Figure:
    """Draw the metric of a task and its loss, in training and in validation, over the epochs.

    What a record's "metrics" lack of `train_METRIC`, `val_METRIC`, `train_loss` and `val_loss` is left out. Where a
    selection decided about operations first and about the inputs of nodes then, a line marks the change.

    Args:
        history: Records with "epoch" and "metrics".
        title: Of the figure.
        decisions: Of a selection: "kind", and "epoch": how many epochs came before.
        metric: Of the task.
    """
    loss = "cross-entropy loss (nats)" if metric == ACCURACY else "loss"
    drawn = {metric.name: (metric.label, metric.factor), "loss": (loss, 1.0)}
    names = {name for record in history for name in record["metrics"]}
    wanted = {f"{part}_{name}" for part in _CURVES for name in drawn}
    if not names & wanted:
        raise ValueError(
            f"Training curves need a history with at least one of the metrics {', '.join(sorted(wanted))}; "
            f"this one has {len(history)} record(s) with {', '.join(sorted(names)) or 'none'}."
        )
    figure, body = style.new_figure(title, 2.7)
    handles = list(map(style.legend_line, ("training", "validation"), _CURVES.values()))
    last = max((decision["epoch"] for decision in decisions if decision["kind"] == "operation"), default=0)
    marked = 0 < last < max((decision["epoch"] for decision in decisions), default=0)
    style.add_legend(body, [*handles, Line2D([], [], **LAST_EDGE)] if marked else handles)
    for axes, (name, (label, factor)) in zip(body.subplots(1, 2, sharex=True), drawn.items(), strict=True):
        for part, look in _CURVES.items():
            known = [record for record in history if f"{part}_{name}" in record["metrics"]]
            values = [factor * record["metrics"][f"{part}_{name}"] for record in known]
            if known:
                _draw_line(axes, [record["epoch"] + 1 for record in known], values, look)
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
    weights = weights_of(history, space)
    excess = weights.assign(excess=weights["weight"] - weights["uniform"])
    # Equal weights are the middle of the scale; the lowest and the highest are its ends.
    scale = TwoSlopeNorm(0.0, min(excess["excess"].min(), -1e-3), max(excess["excess"].max(), 1e-3))
    cells, operations = space["cells"], list(style.styles(weights["operation"]))
    lines = ceil(len(operations) / _MAPS_PER_LINE)
    columns = ceil(len(operations) / lines)
    heights = [0.55 + 0.14 * len(cell["edges"]) for cell in cells.values() for _ in range(lines)]
    title = "Mixture weights softmax(α) of the operations, relative to 1/n, along the search"
    figure, body = style.new_figure(title, 1.0 + sum(heights))
    everywhere = all(set(operations) <= set(edge) for cell in cells.values() for edge in cell["operations"])
    style.add_title(body, "n: operations on the edge" + "; grey: not on this edge" * (not everywhere), 8, "normal")
    grid = body.subplots(len(heights), columns, sharex=True, sharey="row", squeeze=False, height_ratios=heights)
    for row, (name, cell) in enumerate(cells.items()):
        edges, own = list(map(edge_name, cell["edges"])), excess[excess["cell"] == name]
        panels = grid[row * lines : (row + 1) * lines].ravel()
        for axes, operation in zip(panels, operations, strict=False):
            seen = own[own["operation"] == operation].pivot(index="edge", columns="epoch", values="excess")
            _draw_map(axes, seen.reindex(index=edges, columns=excess["epoch"].unique()), scale)
            heading = "\n".join(operation.rsplit("_", 1)) if len(operation) > 8 else operation
            axes.set_title(heading, fontsize=style.fitting_size(heading, 0.7 * style.WIDTH / columns))
        for axes in panels[len(operations) :]:
            axes.set_axis_off()
        for axes in panels[::columns]:
            axes.set_yticks(range(len(edges)), edges)
            axes.tick_params(axis="y", labelsize=6)
            axes.set_ylabel(f"{cell_title(name)}, edge")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    bar = body.colorbar(ScalarMappable(scale, _COLOURS), ax=grid, aspect=40, pad=0.02)
    bar.set_label("softmax(α) - 1/n")
    return figure


def _draw_map(axes: Axes, excess: DataFrame, scale: TwoSlopeNorm) -> None:
    epochs = excess.columns.to_numpy()
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, len(excess) - 0.5, -0.5)
    axes.set_facecolor("0.75")
    axes.imshow(excess, norm=scale, cmap=_COLOURS, aspect="auto", interpolation="nearest", extent=extent)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(True)
    whole_numbers(axes, 4)
