"""Step time and memory of supernets against their size, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften
from archselect.figures.palette import Style, styles

Records = Sequence[Mapping[str, Any]]

COLUMNS = {
    "channels": ("channels",),
    "layers; cells per stage": ("layers", "cells_per_stage"),
    "images in a batch": ("batch",),
    "share of edges decided": ("decided",),
}
"""Label of a column of panels, and the axes of the records that it shows."""

ROWS = {"seconds per step": ("step_seconds", 1.0), "GB at the peak of a step": ("memory_bytes", 1e9)}
"""Label of a row of panels, the key of the records that it shows, and the unit."""

# Lengths in inches.
_PANEL = (2.3, 1.9)
_GAP = (0.5, 0.6)
_LEFT, _TOP, _RIGHT, _BOTTOM = 0.75, 0.75, 0.15, 0.1


def draw_scaling(records: Records, title: str, path: str | Path) -> Path:
    """Draw the records of `scaling.scale` into the PNG `path`: a row for time and one for memory, a column per axis.

    Scales are logarithmic, so that growth in proportion is a straight line; the panels of a row share theirs.
    """
    look = styles(record["supernet"] for record in records)
    width = _LEFT + len(COLUMNS) * (_PANEL[0] + _GAP[0]) - _GAP[0] + _RIGHT
    figure = new_figure(width, _TOP + len(ROWS) * (_PANEL[1] + _GAP[1]) + _BOTTOM)
    add_title(figure, 0.15, 0.12, title)
    handles = [_line_in_legend(name, style) for name, style in look.items()]
    anchor = (0.0, 1 - 0.36 / figure.get_size_inches()[1])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, ncols=len(look), frameon=False, fontsize=9)
    for row, (quantity, (key, unit)) in enumerate(ROWS.items()):
        heights = [record[key] / unit for record in records]
        for column, (label, axes_shown) in enumerate(COLUMNS.items()):
            left = _LEFT + column * (_PANEL[0] + _GAP[0])
            axes = add_panel(figure, left, _TOP + row * (_PANEL[1] + _GAP[1]), *_PANEL)
            shown = [record for record in records if record["axis"] in axes_shown]
            _draw(axes, shown, key, unit, look)
            axes.set_ylim(min(heights) / 1.2, max(heights) * 1.2)
            axes.set_xlabel(label, fontsize=9)
            if column == 0:
                axes.set_ylabel(quantity, fontsize=9)
    return save(figure, path)


def _draw(axes: Axes, records: Records, key: str, unit: float, look: Mapping[str, Style]) -> None:
    soften(axes)
    for supernet, style in look.items():
        points = [(record["value"], record[key] / unit) for record in records if record["supernet"] == supernet]
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, style.line, marker=style.marker, color=style.colour, markersize=5, linewidth=1.5)
    values = sorted({record["value"] for record in records})
    if values[0] > 0:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def _line_in_legend(label: str, style: Style) -> Line2D:
    return Line2D([], [], linestyle=style.line, marker=style.marker, color=style.colour, markersize=5, label=label)
