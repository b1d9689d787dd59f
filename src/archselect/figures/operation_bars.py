"""Quantities of every operation of every edge, one above the other, as in Fig. 2 of DARTS-PT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_legend, cell_title, new_figure, parts, styled
from archselect.figures.palette import Style, styles

Rows = Sequence[Mapping[str, Any]]

_PANEL, _CELL = 1.05, 0.6  # inches: height of a panel; what surrounds those of a cell
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


@styled
def draw_operation_bars(rows: Rows, title: str, quantities: Sequence[Quantity]) -> Figure:
    """Draw quantities of the operations of every edge.

    Args:
        rows: One per operation: cell, edge, operation, and the columns of the quantities.
        title: Of the figure.
        quantities: From above.
    """
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    look = styles(row["operation"] for row in rows)
    height = _CELL + len(quantities) * _PANEL
    figure, body = new_figure(title, 0.75 + len(cells) * height)
    add_legend(body, _legend(look, quantities))
    for part, cell in zip(parts(body, map(cell_title, cells), [height] * len(cells)), cells, strict=True):
        own = [row for row in rows if row["cell"] == cell]
        panels = part.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            _draw_bars(axes, own, look, quantity)
            axes.set_ylabel(quantity.label)
        panels[-1].set_xlabel("edge (source,target)")
        part.align_ylabels()
    return figure


def _legend(look: Mapping[str, Style], quantities: Sequence[Quantity]) -> list[Artist]:
    most = "smallest" if all(quantity.smallest for quantity in quantities) else "largest"
    if any(quantity.smallest for quantity in quantities) and most == "largest":
        most = "preferred"
    mark = Line2D([], [], linestyle="", marker="v", color="0.15", markersize=5, label=f"{most} on its edge")
    return [*(Patch(**_fill(style), label=name) for name, style in look.items()), mark]


def _fill(style: Style) -> dict[str, Any]:
    return {"facecolor": style.colour, "edgecolor": "white", "hatch": style.hatch, "linewidth": 0}


def _draw_bars(axes: Axes, rows: Rows, look: Mapping[str, Style], quantity: Quantity) -> None:
    """Draw a group of bars per edge, and a mark over the preferred one."""
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
            axes.bar(x, value, 0.92 * width, **_fill(look[row["operation"]]))
            if error:
                axes.plot([x, x], [value - error, value + error], color="0.15", linewidth=0.9)
            tops.append((-value if quantity.smallest else value, x, max(value, 0) + error))
            ends += [value - error, value + error]
        _, x, end = max(tops, key=lambda top: top[0])
        axes.annotate("▼", (x, end), (0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=5)
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.22 * (high - low) or 1.0  # above the marks
    axes.set_ylim(low - (0.05 * (high - low) if low < 0 else 0.0), high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xlim(-0.6, len(edges) - 0.4)
    axes.set_xticks(range(len(edges)), edges)
    axes.tick_params(axis="x", length=0)
