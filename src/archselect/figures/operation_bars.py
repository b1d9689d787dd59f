"""Quantities of every operation of every edge, one above the other, as in Fig. 2 of DARTS-PT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from archselect.figures.canvas import add_panel, add_title, cell_title, new_figure, save, soften
from archselect.figures.palette import Style, styles

Rows = Sequence[Mapping[str, Any]]

# Lengths in inches.
_LEFT, _WIDTH, _PANEL, _BETWEEN, _BELOW = 0.95, 9.6, 1.35, 0.22, 0.75
_HEADER, _TITLE = 0.85, 0.3
_GROUP = 0.84
"""Share of an edge's room that its bars take."""


@dataclass(frozen=True)
class Quantity:
    """A column of bars.

    Attributes:
        column: Its name in the rows.
        label: What it is, with its unit.
        factor: What the values are multiplied by.
        error: Name of the column of its standard errors; None: it has none.
        smallest: Whether the smallest of an edge is marked, not the largest.
    """

    column: str
    label: str
    factor: float = 1.0
    error: str | None = None
    smallest: bool = False


def draw_operation_bars(rows: Rows, title: str, quantities: Sequence[Quantity], path: str | Path) -> Path:
    """Draw quantities of the operations of every edge into the PNG `path`.

    Args:
        rows: One per operation: cell, edge, operation, and the columns of the quantities.
        title: Of the figure.
        quantities: From above.
        path: Where to.
    """
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    look = styles(row["operation"] for row in rows)
    block = _TITLE + len(quantities) * (_PANEL + _BETWEEN) + _BELOW
    figure = new_figure(_LEFT + _WIDTH + 0.2, _HEADER + len(cells) * block)
    add_title(figure, 0.15, 0.12, title)
    handles: list[Artist] = [Patch(facecolor=style.colour, linewidth=0, label=name) for name, style in look.items()]
    most = "smallest" if all(quantity.smallest for quantity in quantities) else "largest"
    if any(quantity.smallest for quantity in quantities) and most == "largest":
        most = "preferred"
    handles.append(Line2D([], [], linestyle="", marker="v", color="0.15", markersize=6, label=f"{most} on its edge"))
    anchor = (0.0, 1 - 0.36 / figure.get_size_inches()[1])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, ncols=8, frameon=False, fontsize=9)
    for index, cell in enumerate(cells):
        own = [row for row in rows if row["cell"] == cell]
        top = _HEADER + index * block
        add_title(figure, 0.15, top, cell_title(cell), size=11)
        for number, quantity in enumerate(quantities):
            axes = add_panel(figure, _LEFT, top + _TITLE + number * (_PANEL + _BETWEEN), _WIDTH, _PANEL)
            _draw_bars(axes, own, look, quantity)
            axes.set_ylabel(quantity.label, fontsize=8.5)
            if quantity is quantities[-1]:
                axes.set_xlabel("edge (source,target)", fontsize=8.5)
            else:
                axes.tick_params(labelbottom=False)
    return save(figure, path)


def _draw_bars(axes: Axes, rows: Rows, look: Mapping[str, Style], quantity: Quantity) -> None:
    """Draw a group of bars per edge, and a mark over the preferred one."""
    soften(axes)
    axes.grid(axis="x", visible=False)
    edges = list(dict.fromkeys(row["edge"] for row in rows))
    ends = []
    for position, edge in enumerate(edges):
        own = [row for row in rows if row["edge"] == edge]
        width = _GROUP / len(own)
        tops = []
        for index, row in enumerate(own):
            x = position + (index - (len(own) - 1) / 2) * width
            value = quantity.factor * row[quantity.column]
            error = quantity.factor * (row[quantity.error] or 0.0) if quantity.error else 0.0
            axes.bar(x, value, 0.92 * width, color=look[row["operation"]].colour, linewidth=0)
            if error:
                axes.plot([x, x], [value - error, value + error], color="0.15", linewidth=0.9)
            tops.append((-value if quantity.smallest else value, x, max(value, 0) + error))
            ends += [value - error, value + error]
        _, x, end = max(tops, key=lambda top: top[0])
        axes.annotate("▼", (x, end), (0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=5.5)
    low, high = min(0.0, *ends), max(0.0, *ends)
    axes.set_ylim(low * 1.08, high * 1.2 or 1.0)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xlim(-0.6, len(edges) - 0.4)
    axes.set_xticks(range(len(edges)), edges)
    axes.tick_params(axis="x", length=0)
