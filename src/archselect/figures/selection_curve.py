"""The validation accuracy of a supernet while selections discretise it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften

LINES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", ":", "^"),
    ("#CC79A7", "-.", "D"),
    ("0.3", "-", "v"),
)
"""Colour, line and marker of the selections, in the order in which they come."""


def draw_selection_curve(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw the accuracy of every selection over the epochs of tuning into the PNG `path`.

    Args:
        rows: selection, epoch, val_accuracy in [0, 1], edges_decided, nodes_decided.
        path: Where to.
    """
    figure = new_figure(8.6, 4.4)
    add_title(figure, 0.15, 0.12, "Validation accuracy of the supernet while it is discretised")
    axes = add_panel(figure, 0.85, 0.55, 7.5, 3.1)
    soften(axes)
    names = list(dict.fromkeys(row["selection"] for row in rows))
    for index, name in enumerate(names):
        colour, line, marker = LINES[index % len(LINES)]
        own = [row for row in rows if row["selection"] == name]
        axes.plot(
            [row["epoch"] for row in own],
            [100 * row["val_accuracy"] for row in own],
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            linewidth=1.6,
            label=name,
        )
    decided = [row for row in rows if row["selection"] == names[0]]
    last = max((row["edges_decided"] for row in decided), default=0)
    edges_done = next((row["epoch"] for row in decided if row["edges_decided"] == last), None)
    if edges_done is not None and decided[-1]["nodes_decided"]:
        axes.axvline(edges_done, color="0.55", linewidth=1.0, linestyle="--", zorder=0)
        axes.annotate(
            " all edges decided", (edges_done, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="0.35"
        )
    axes.set_xlabel("epochs of tuning (0: before the first decision)", fontsize=9)
    axes.set_ylabel("validation accuracy (%)", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9)
    return save(figure, path)
