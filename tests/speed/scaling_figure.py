"""Step time and memory of supernets against their size, as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from archselect.figures.style import Style, add_legend, new_figure, styled, styles

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


@styled
def draw_scaling(records: Records, title: str) -> Figure:
    """Draw the records of `scaling.scale`: a row for time and one for memory, a column per axis.

    Scales are logarithmic, so that growth in proportion is a straight line; the panels of a row share theirs.
    """
    look = styles(record["supernet"] for record in records)
    figure, body = new_figure(title, 4.2)
    add_legend(body, [_line_in_legend(name, style) for name, style in look.items()])
    grid = body.subplots(len(ROWS), len(COLUMNS), sharex="col", sharey="row")
    for row, (quantity, (key, unit)) in zip(grid, ROWS.items(), strict=True):
        heights = [record[key] / unit for record in records]
        for axes, shown in zip(row, COLUMNS.values(), strict=True):
            _draw(axes, [record for record in records if record["axis"] in shown], key, unit, look)
        row[0].set_ylim(min(heights) / 1.2, max(heights) * 1.2)
        row[0].set_ylabel(quantity)
    for axes, label in zip(grid[-1], COLUMNS, strict=True):
        axes.set_xlabel(label)
    return figure


def _draw(axes: Axes, records: Records, key: str, unit: float, look: Mapping[str, Style]) -> None:
    for supernet, style in look.items():
        points = [(record["value"], record[key] / unit) for record in records if record["supernet"] == supernet]
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, style.line, marker=style.marker, color=style.colour)
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
    return Line2D([], [], linestyle=style.line, marker=style.marker, color=style.colour, label=label)
