"""Step time and memory against channels, depth, batch size and decisions made.

One thing is varied at a time, from a base that is small enough for two CPU cores.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from archselect.figures.style import Style, add_legend, new_figure, save, styled, styles
from benchmarks.measuring import in_new_process, medians, step_memory
from benchmarks.output import progress, show, show_table, write_json
from benchmarks.settings import Conditions, Setting, add_conditions, add_supernets, conditions, settings
from benchmarks.sides import Package, data_for

Records = Sequence[Mapping[str, Any]]

AXES: Mapping[str, Sequence[float]] = {
    "channels": (4, 8, 16, 32),
    "layers": (3, 5, 8),  # a supernet of the DARTS family has at least 3
    "cells_per_stage": (1, 3, 5),
    "batch": (16, 64, 128),
    "decided": (0.0, 0.25, 0.5, 1.0),
}
"""What is varied, over which values; the depth of NAS-Bench-201 is its cells in each of three stages."""


class Measurement(NamedTuple):
    """Median seconds of a step, and the bytes it takes at its peak."""

    seconds: float
    memory: int


def measure(setting: Setting, conditions: Conditions, repeat: int) -> Measurement:
    """Measure a step; in a process that has not done so before, because freed memory may be held and reused."""
    conditions.apply()
    side = Package(setting, conditions)
    memory = step_memory(side, conditions)
    data = data_for(side, conditions)
    (seconds,) = medians([lambda: side.step(data)], repeat, conditions.device)
    return Measurement(seconds, memory)


def scale(base: Setting, under: Conditions, repeat: int) -> list[dict[str, Any]]:
    """Return one record per value as JSON data; what several axes share is measured once."""

    @cache
    def measured(setting: Setting, conditions: Conditions) -> Measurement:
        return in_new_process(measure, setting, conditions, repeat)

    unused = "layers" if base.supernet == "nasbench201" else "cells_per_stage"
    records = []
    for axis, value in ((name, value) for name in AXES if name != unused for value in AXES[name]):
        progress(f"{base.supernet}: {axis} {value:g} ...")
        setting, conditions = varied(base, under, axis, value)
        seconds, memory = measured(setting, conditions)
        found = {"axis": axis, "value": value, "step_seconds": seconds, "memory_bytes": memory}
        records.append(found | asdict(setting) | asdict(conditions) | {"repeat": repeat, "torch": torch.__version__})
    return records


def varied(base: Setting, under: Conditions, axis: str, value: Any) -> tuple[Setting, Conditions]:
    """Return the base with another value on one axis."""
    if axis == "batch":
        return base, replace(under, batch=value)
    return replace(base, **{"depth" if axis in ("layers", "cells_per_stage") else axis: value}), under


def rows(records: Records) -> list[list[str]]:
    """Return what is printed of the records; ratios are those to the first value of the axis."""
    found = []
    for record in records:
        start = next(one for one in records if all(one[key] == record[key] for key in ("supernet", "axis")))
        row = [record["supernet"], record["axis"], f"{record['value']:g}"]
        for key, unit in (("step_seconds", 1.0), ("memory_bytes", 1e9)):
            row += [f"{record[key] / unit:.3f}", f"{record[key] / start[key]:.2f}"]
        found.append(row)
    return found


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
    """Draw the records of `scale`: a row for time and one for memory, a column per axis.

    Scales are logarithmic, so that growth in proportion is a straight line; the panels of a row share theirs.
    """
    look = styles(record["supernet"] for record in records)
    figure, body = new_figure(title, 4.2)
    legend = [Line2D([], [], label=name, ls=s.line, marker=s.marker, color=s.colour) for name, s in look.items()]
    add_legend(body, legend)
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


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    add_supernets(parser, ("darts", "nasbench201"), channels=8, depth=5)
    add_conditions(parser, batch=32, repeat=3, captures=True)
    parser.add_argument("--output", default="logs/bench/scaling", help=".json and .png are appended: %(default)s")


def run(options: Namespace) -> None:
    """Measure the supernets, print a table, draw a picture and write the numbers."""
    under = conditions(options)
    records: list[dict[str, Any]] = []
    for base in settings(options):
        records += scale(base, under, options.repeat)
        write_json(records, f"{options.output}.json")
    size = f"C={options.channels}, depth {options.depth}, batch {options.batch}"
    figure = save(draw_scaling(records, f"One bilevel step, from {size}"), options.output)
    show(f"{under}, medians of {options.repeat}\none thing varied at a time, from {size}")
    heading = ["\nsupernet", "\naxis", "\nvalue", "seconds\nper step", "\nratio", "GB at\nthe peak", "\nratio"]
    show_table(heading, rows(records))
    show(f"written to {options.output}.json and {figure}")
