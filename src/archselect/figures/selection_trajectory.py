"""What selections choose along a search: a panel per quantity, a line per selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_legend, new_figure, styled, whole_numbers
from archselect.figures.selection_curve import LINES

Rows = Sequence[Mapping[str, Any]]

_PER_ROW = 3
_PANEL = 1.9  # inches


@dataclass(frozen=True)
class Panel:
    """One quantity.

    Attributes:
        column: Of the rows.
        title: Above the panel.
        label: Of its axis, with the unit.
        factor: From the column to the unit.
        common: Whether all selections have the same value, so that one line says it.
    """

    column: str
    title: str
    label: str
    factor: float = 1.0
    common: bool = False


@styled
def draw_selection_trajectory(rows: Rows, panels: Sequence[Panel]) -> Figure:
    """Draw every quantity over the epochs.

    Args:
        rows: epoch, selection, and a column per panel.
        panels: What is drawn.
    """
    lines = ceil(len(panels) / _PER_ROW)
    title = "What is chosen from the supernet as it was along the search"
    figure, body = new_figure(title, 0.7 + lines * _PANEL)
    names = list(dict.fromkeys(row["selection"] for row in rows))
    looks = {name: LINES[index % len(LINES)] for index, name in enumerate(names)}
    add_legend(body, [_in_legend(name, *look) for name, look in looks.items()])
    grid = body.subplots(lines, ceil(len(panels) / lines), squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, rows, panel, looks)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _in_legend(name: str, colour: str, line: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, ls=line, marker=marker, label=name)


def _draw_panel(axes: Axes, rows: Rows, panel: Panel, looks: Mapping[str, tuple[str, str, str]]) -> None:
    axes.set_title(panel.title)
    chosen = {"": ("0.35", "-", "x")} if panel.common else looks
    for name, (colour, line, marker) in chosen.items():
        values = {row["epoch"]: panel.factor * row[panel.column] for row in rows if name in ("", row["selection"])}
        axes.plot(list(values), list(values.values()), line, color=colour, marker=marker, clip_on=False)
    axes.margins(y=0.12)
    if panel.column == "skip_share":
        axes.set_ylim(-4, 104)  # a line along 0 or 100 is seen whole
    axes.set(xlabel="epochs of the search", ylabel=panel.label)
    whole_numbers(axes)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
