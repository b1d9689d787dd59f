"""What several runs chose: heat maps of operations per edge, agreement between selections, accuracy against skips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, cell_title, new_figure, save, soften
from archselect.figures.selection_curve import LINES

Rows = Sequence[Mapping[str, Any]]

# Lengths in inches.
_LEFT, _GAP, _HEADER, _BOX, _ROW = 0.75, 0.35, 0.5, 0.42, 0.21
_NAMES = 1.1  # of the operations, below a heat map
_TITLE, _BELOW, _AXIS = 0.5, 2.7, 0.45
_ENTRY = 0.2  # of the legend, below the scatter
_MAP = "Blues"


def draw_seeds(frequencies: Rows, agreement: Rows, accuracy: Rows, path: str | Path) -> Path:
    """Draw a heat map per selection and cell type, the agreement, and accuracy against skips into the PNG `path`.

    Args:
        frequencies: selection, cell, edge, operation, share of the runs, runs.
        agreement: one, other, share of the edges (None: no such pair of runs).
        accuracy: selection, skips, accuracy in percent or None, judged.
        path: Where to.
    """
    labels = list(dict.fromkeys(row["selection"] for row in frequencies))
    cells = list(dict.fromkeys(row["cell"] for row in frequencies))
    columns = {cell: _distinct(frequencies, cell, "operation") for cell in cells}
    edges = {cell: _distinct(frequencies, cell, "edge") for cell in cells}
    title = 0.08 * (max(map(len, labels)) + 9)
    pitch = max(title, *(_BOX * len(names) for names in columns.values())) + _GAP
    heights = [_TITLE + _ROW * len(edges[cell]) + _NAMES for cell in cells]
    width = max(8.6, _LEFT + len(labels) * pitch)
    below = _HEADER + sum(heights)
    matrix = 0.8 + 0.4 * len(labels) + 0.085 * max(map(len, labels))
    figure = new_figure(width, below + 0.15 + max(_BELOW + _AXIS + _ENTRY * len(labels), matrix))
    runs = len(accuracy)
    add_title(figure, 0.15, 0.12, f"What {runs} run{'s' * (runs > 1)} chose (% of a selection's runs)")
    top = _HEADER
    for cell, height in zip(cells, heights, strict=True):
        add_title(figure, 0.15, top, cell_title(cell), size=11)
        for index, label in enumerate(labels):
            own = [row for row in frequencies if (row["selection"], row["cell"]) == (label, cell)]
            left = _LEFT + index * pitch
            axes = add_panel(figure, left, top + _TITLE, _BOX * len(columns[cell]), _ROW * len(edges[cell]))
            _draw_frequencies(axes, own, edges[cell], columns[cell], named=index == 0)
        top += height
    _draw_agreement(figure, agreement, labels, below + 0.15)
    _draw_accuracy(figure, accuracy, labels, (0.55 * width + 0.55, below + 0.15, 0.45 * width - 0.8, _BELOW - 0.3))
    return save(figure, path)


def _distinct(rows: Rows, cell: str, column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows if row["cell"] == cell))


def _draw_frequencies(axes: Axes, rows: Rows, edges: Sequence[str], operations: Sequence[str], named: bool) -> None:
    """Draw a box per edge and operation; what an edge does not offer stays grey."""
    shares = np.full((len(edges), len(operations)), np.nan)
    for row in rows:
        shares[edges.index(row["edge"]), operations.index(row["operation"])] = 100 * row["share"]
    _draw_boxes(axes, shares)
    axes.set_title(f"{rows[0]['selection']} (n = {rows[0]['runs']})", fontsize=9, loc="left", pad=4)
    axes.set_xticks(range(len(operations)), operations, rotation=90, fontsize=8)
    axes.set_yticks(range(len(edges)), edges if named else [], fontsize=8)


def _draw_boxes(axes: Axes, percents: Any) -> None:
    axes.set_facecolor("0.9")
    axes.imshow(percents, cmap=_MAP, vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(percents):
        if value > 0:
            axes.text(
                x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value > 60 else "0.1"
            )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_agreement(figure: Figure, rows: Rows, labels: Sequence[str], top: float) -> None:
    add_title(figure, 0.15, top, "Edges with the same operation (%)", size=11)
    shares = np.full((len(labels), len(labels)), np.nan)
    for row in rows:
        at = labels.index(row["one"]), labels.index(row["other"])
        shares[at] = shares[at[::-1]] = np.nan if row["share"] is None else 100 * row["share"]
    longest = 0.085 * max(map(len, labels)) + 0.3
    side = 0.4 * len(labels)
    axes = add_panel(figure, longest, top + 0.62, max(side, 0.55 * len(labels)), side)
    _draw_boxes(axes, shares)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_title("off the diagonal: from one supernet;\non it: from different ones", fontsize=8, loc="left", pad=4)


def _draw_accuracy(figure: Figure, rows: Rows, labels: Sequence[str], place: tuple[float, float, float, float]) -> None:
    left, top, width, height = place
    add_title(figure, left - 0.6, top, "Test accuracy against skip connections", size=11)
    axes = add_panel(figure, left, top + 0.35, width, height - 0.1)
    soften(axes)
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        axes.text(0.5, 0.5, "nothing was evaluated", ha="center", va="center", color="0.4", transform=axes.transAxes)
    for index, label in enumerate(labels):
        colour, _, marker = LINES[index % len(LINES)]
        own = [row for row in known if row["selection"] == label]
        if own:
            skips, accuracies = [row["skips"] for row in own], [row["accuracy"] for row in own]
            face = colour if index < len(LINES) else "none"  # so that no two look alike
            axes.plot(skips, accuracies, marker, color=colour, mfc=face, markersize=6, alpha=0.8, label=label)
    axes.set_xlabel("skip connections in the architecture", fontsize=8.5)
    axes.set_ylabel("test accuracy (%)", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
    if known:
        beneath = (0.0, -0.4 / (height - 0.1))  # inside it would hide points
        axes.legend(loc="upper left", bbox_to_anchor=beneath, borderaxespad=0, frameon=False, fontsize=8.5)
