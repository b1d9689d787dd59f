"""What several runs chose: heat maps of operations per edge, agreement between selections, accuracy against skips."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import WIDTH, add_legend, cell_title, fitting, new_figure, parts, styled
from archselect.figures.selection_curve import LINES

Rows = Sequence[Mapping[str, Any]]

# Lengths in inches.
_BOX, _ROW = 0.24, 0.15  # of a heat map: the narrowest box that holds "100", and its height
_NAMES, _CELL = 1.05, 0.3  # of the operations below a line of heat maps; of a cell's title
_BELOW, _LETTER = 1.7, 0.075  # of the agreement: without, and for each letter of, the names below it
_MAP = "Blues"


@styled
def draw_seeds(frequencies: Rows, agreement: Rows, accuracy: Rows) -> Figure:
    """Draw a heat map per selection and cell type; of several runs, the agreement, and accuracy against skips too.

    Args:
        frequencies: selection, cell, edge, operation, share of the runs, runs.
        agreement: one, other, share of the edges (None: no such pair of runs).
        accuracy: selection, skips, accuracy in percent or None, judged.
    """
    labels = list(dict.fromkeys(row["selection"] for row in frequencies))
    cells = list(dict.fromkeys(row["cell"] for row in frequencies))
    most = max(len(_distinct(frequencies, cell, "operation")) for cell in cells)
    per_row = min(len(labels), max(1, int((WIDTH - 0.7) / (_BOX * most + 0.1))))
    lines = ceil(len(labels) / per_row)
    heights = [_CELL + lines * (_NAMES + _ROW * max(3, len(_distinct(frequencies, cell, "edge")))) for cell in cells]
    several = len(accuracy) > 1
    below = [max(_BELOW, 1.0 + 0.16 * len(labels)) + _LETTER * max(map(len, labels))] if several else []
    title = f"What {len(accuracy)} runs chose (% of a selection's runs)" if several else "What one run chose"
    width = WIDTH if several else min(WIDTH, max(3.2, 1.2 + 0.45 * most))
    figure, body = new_figure(title, 0.4 + sum(heights) + sum(below), width)
    titles = [*(f"{cell_title(cell)}: edges (source,target)" for cell in cells), *([""] if several else [])]
    for part, cell in zip(found := parts(body, titles, [*heights, *below]), cells, strict=False):
        _draw_cell(part, [row for row in frequencies if row["cell"] == cell], labels, (lines, per_row), several)
    if several:
        left, right = found[-1].subplots(1, 2)
        _draw_agreement(left, agreement, labels)
        _draw_accuracy(right, accuracy, labels)
        if right.lines:
            add_legend(found[-1], right.lines)
    return figure


def _distinct(rows: Rows, cell: str, column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows if row["cell"] == cell))


def _draw_cell(figure: SubFigure, rows: Rows, labels: Sequence[str], shape: tuple[int, int], several: bool) -> None:
    """Draw a map per selection, with a box per edge and operation; what an edge does not offer stays grey."""
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    edges = list(dict.fromkeys(row["edge"] for row in rows))
    panels = figure.subplots(*shape, sharey=True, squeeze=False)
    for axes, label in zip(panels.ravel(), labels, strict=False):
        own = [row for row in rows if row["selection"] == label]
        shares = np.full((len(edges), len(operations)), np.nan)
        for row in own:
            shares[edges.index(row["edge"]), operations.index(row["operation"])] = 100 * row["share"]
        _draw_boxes(axes, shares, 6, numbers=several)
        heading = f"{label} (n = {own[0]['runs']})" if several else label
        axes.set_title(heading, fontsize=fitting(heading, 0.8 * WIDTH / shape[1]))
        axes.set_xticks(range(len(operations)), operations, rotation=90)
        axes.set_yticks(range(len(edges)), edges)
    for axes in panels.ravel()[len(labels) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("edge")


def _draw_boxes(axes: Axes, percents: Any, size: float, numbers: bool = True) -> None:
    axes.set_facecolor("0.9")
    axes.imshow(percents, cmap=_MAP, vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(percents):
        if numbers and value > 0:
            colour = "white" if value > 60 else "0.1"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=size, color=colour)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_agreement(axes: Axes, rows: Rows, labels: Sequence[str]) -> None:
    shares = np.full((len(labels), len(labels)), np.nan)
    for row in rows:
        at = labels.index(row["one"]), labels.index(row["other"])
        shares[at] = shares[at[::-1]] = np.nan if row["share"] is None else 100 * row["share"]
    _draw_boxes(axes, shares, 7)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_title("Edges with the same operation (%)", fontweight="bold", pad=16)
    note = "off the diagonal: runs from one supernet; on it: different ones"
    axes.annotate(note, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=6.5, color="0.3")


def _draw_accuracy(axes: Axes, rows: Rows, labels: Sequence[str]) -> None:
    axes.set_title("Accuracy against skips", fontweight="bold", pad=16)
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        axes.text(0.5, 0.5, "nothing was evaluated", ha="center", va="center", color="0.4", transform=axes.transAxes)
    for index, label in enumerate(labels):
        colour, _, marker = LINES[index % len(LINES)]
        own = [row for row in known if row["selection"] == label]
        if own:
            skips, accuracies = [row["skips"] for row in own], [row["accuracy"] for row in own]
            face = colour if index < len(LINES) else "none"  # so that no two look alike
            axes.plot(skips, accuracies, marker, color=colour, mfc=face, markersize=5.5, alpha=0.8, label=label)
    axes.set(xlabel="skip connections in the architecture", ylabel="test accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
