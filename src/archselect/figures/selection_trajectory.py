"""What selections choose along a search: a panel per quantity, a line per selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften
from archselect.figures.selection_curve import LINES

Rows = Sequence[Mapping[str, Any]]

# Lengths in inches.
_LEFT, _WIDTH, _HEIGHT, _GAP, _BELOW, _HEADER = 0.75, 3.0, 2.1, 0.75, 0.85, 1.05
_PER_ROW = 3


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


def draw_selection_trajectory(rows: Rows, panels: Sequence[Panel], path: str | Path) -> Path:
    """Draw every quantity over the epochs into the PNG `path`.

    Args:
        rows: epoch, selection, and a column per panel.
        panels: What is drawn.
        path: Where to.
    """
    columns = min(_PER_ROW, len(panels))
    lines = ceil(len(panels) / columns)
    width = max(7.4, _LEFT + columns * (_WIDTH + _GAP) - _GAP + 0.2)
    figure = new_figure(width, _HEADER + lines * (_HEIGHT + _BELOW))
    add_title(figure, 0.15, 0.12, "What is chosen from the supernet as it was along the search")
    names = list(dict.fromkeys(row["selection"] for row in rows))
    looks = {name: LINES[index % len(LINES)] for index, name in enumerate(names)}
    handles = [
        Line2D([], [], color=colour, ls=line, marker=marker, markersize=5, linewidth=1.6, label=name)
        for name, (colour, line, marker) in looks.items()
    ]
    anchor = (0.0, 1 - 0.38 / figure.get_size_inches()[1])
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=anchor, ncols=5, frameon=False, fontsize=9, handlelength=3
    )
    for index, panel in enumerate(panels):
        line, column = divmod(index, columns)
        top = _HEADER + line * (_HEIGHT + _BELOW)
        axes = add_panel(figure, _LEFT + column * (_WIDTH + _GAP), top, _WIDTH, _HEIGHT)
        _draw_panel(axes, rows, panel, looks)
    return save(figure, path)


def _draw_panel(axes: Axes, rows: Rows, panel: Panel, looks: Mapping[str, tuple[str, str, str]]) -> None:
    soften(axes)
    axes.set_title(panel.title, fontsize=9.5, loc="left", pad=5)
    chosen = {"": ("0.35", "-", "x")} if panel.common else looks
    for name, (colour, line, marker) in chosen.items():
        values = {row["epoch"]: panel.factor * row[panel.column] for row in rows if name in ("", row["selection"])}
        axes.plot(
            list(values),
            list(values.values()),
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            clip_on=False,
        )
    if panel.column == "skip_share":
        axes.set_ylim(-4, 104)  # a line along 0 or 100 is seen whole
    axes.margins(y=0.12)
    axes.set_xlabel("epochs of the search", fontsize=8.5)
    axes.set_ylabel(panel.label, fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.ticklabel_format(axis="y", useOffset=False)
