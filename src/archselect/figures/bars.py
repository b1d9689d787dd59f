"""Quantities of the operations of every edge, as bars."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from archselect.figures.style import Rows, Style, add_legend, cell_title, new_figure, parts, styled, styles

_GROUP = 0.84
"""Share of an edge's room that its bars take."""


class Quantity(NamedTuple):
    """A column of the rows, drawn in the unit of its label: multiplied by `factor`.

    `error` names the column of its standard errors. The largest of an edge is marked, or the smallest.
    """

    column: str
    label: str
    factor: float = 1.0
    error: str | None = None
    smallest: bool = False


@styled
def draw_operation_bars(rows: Rows, title: str, quantities: Sequence[Quantity]) -> Figure:
    """Draw quantities, from above, of operations: rows have cell, edge, operation and the columns of the quantities."""
    by_cell = {cell: list(own) for cell, own in groupby(rows, key=lambda row: str(row["cell"]))}
    by_operation = styles(row["operation"] for row in rows)
    height = 0.6 + 1.05 * len(quantities)
    figure, body = new_figure(title, 0.75 + len(by_cell) * height)
    marked = {"smallest" if quantity.smallest else "largest" for quantity in quantities}
    label = f"{marked.pop() if len(marked) == 1 else 'preferred'} on its edge"
    mark = Line2D([], [], linestyle="", marker="v", color="0.15", markersize=5, label=label)
    add_legend(body, [*(Patch(**style.fill, label=name) for name, style in by_operation.items()), mark])
    found = parts(body, map(cell_title, by_cell), [height] * len(by_cell))
    for part, own in zip(found, by_cell.values(), strict=True):
        panels = part.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            _draw_bars(axes, own, by_operation, quantity)
        panels[-1].set_xlabel("edge (source,target)")
        part.align_ylabels()
    return figure


def _draw_bars(axes: Axes, rows: Rows, by_operation: Mapping[str, Style], quantity: Quantity) -> None:
    """Draw a group of bars per edge, and a mark over the preferred one."""
    by_edge = {edge: list(own) for edge, own in groupby(rows, key=lambda row: str(row["edge"]))}
    ends = [0.0]
    for position, own in enumerate(by_edge.values()):
        width = _GROUP / len(own)
        tops = []
        for index, row in enumerate(own):
            x = position + (index - (len(own) - 1) / 2) * width
            value = quantity.factor * row[quantity.column]
            error = quantity.factor * (row[quantity.error] or 0.0) if quantity.error else 0.0
            look = {"error_kw": {"ecolor": "0.15", "elinewidth": 0.9}, **by_operation[row["operation"]].fill}
            axes.bar(x, value, 0.92 * width, yerr=error or None, **look)
            tops.append((-value if quantity.smallest else value, x, max(value, 0) + error))
            ends += [value - error, value + error]
        _, x, end = max(tops, key=lambda top: top[0])
        axes.annotate("▼", (x, end), (0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=5)
    low, high = min(ends), max(ends)
    margin = 0.22 * (high - low) or 1.0  # above the marks
    axes.set(ylim=(low - 0.05 * (high - low) * (low < 0), high + margin), xlim=(-0.6, len(by_edge) - 0.4))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks(range(len(by_edge)), by_edge)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(quantity.label)
