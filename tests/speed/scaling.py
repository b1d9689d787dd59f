"""How step time and memory grow: `python -m tests.speed.scaling`.

One thing is varied at a time, from a base that is small enough for two CPU cores.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from archselect.figures.style import save
from archselect.utils.validation import POSITIVE_INT

from .conditions import Conditions, add_arguments, conditions
from .memory import apart, step_memory
from .scaling_figure import draw_scaling
from .setting import SUPERNETS, Setting
from .sides import Fast, data_for
from .stopwatch import medians
from .table import aligned, progress, show, write_json

DEFAULT = ("darts", "nasbench201")


@dataclass(frozen=True)
class Axes:
    """What is varied, over which values; the depth of NAS-Bench-201 is its cells in each of three stages."""

    channels: tuple[int, ...] = (4, 8, 16, 32)
    layers: tuple[int, ...] = (3, 5, 8)  # a supernet of the DARTS family has at least 3
    cells_per_stage: tuple[int, ...] = (1, 3, 5)
    batch: tuple[int, ...] = (16, 64, 128)
    decided: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)


class Point(NamedTuple):
    """One value on one axis."""

    axis: str
    value: float
    setting: Setting
    conditions: Conditions


class Measurement(NamedTuple):
    """Median seconds of a step, and the bytes it takes at its peak."""

    seconds: float
    memory: int


def points(base: Setting, under: Conditions, axes: Axes) -> Iterator[Point]:
    """Vary the base along each axis."""
    for channels in axes.channels:
        yield Point("channels", channels, replace(base, channels=channels), under)
    depth = "cells_per_stage" if base.supernet == "nasbench201" else "layers"
    for count in getattr(axes, depth):
        yield Point(depth, count, replace(base, depth=count), under)
    for batch in axes.batch:
        yield Point("batch", batch, base, replace(under, batch=batch))
    for share in axes.decided:
        yield Point("decided", share, replace(base, decided=share), under)


def measure(setting: Setting, conditions: Conditions, repeat: int) -> Measurement:
    """Measure the fast side; in a process that has not done so before, because freed memory may be held and reused."""
    conditions.apply()
    side = Fast(setting, conditions)
    memory = step_memory(side, conditions)
    data = data_for(side, conditions)
    (seconds,) = medians([lambda: side.step(data)], repeat, conditions.device)
    return Measurement(seconds, memory)


def scale(base: Setting, under: Conditions, repeat: int, axes: Axes) -> list[dict[str, Any]]:
    """Return one record per point as JSON data; what several axes share is measured once."""
    measured: dict[tuple[Setting, Conditions], Measurement] = {}
    records = []
    for point in points(base, under, axes):
        at = (point.setting, point.conditions)
        if at not in measured:
            progress(f"{base.supernet}: {point.axis} {point.value:g} ...")
            measured[at] = apart(measure, *at, repeat)
        records.append(_record(point, measured[at], repeat))
    return records


def _record(point: Point, measurement: Measurement, repeat: int) -> dict[str, Any]:
    return {
        "supernet": point.setting.supernet,
        "axis": point.axis,
        "value": point.value,
        "step_seconds": measurement.seconds,
        "memory_bytes": measurement.memory,
        "channels": point.setting.channels,
        "depth": point.setting.depth,
        "batch": point.conditions.batch,
        "decided": point.setting.decided,
        "device": point.conditions.device,
        "precision": point.conditions.precision,
        "capture": point.conditions.capture,
        "recompute": point.conditions.recompute,
        "threads": point.conditions.threads,
        "repeat": repeat,
        "torch": torch.__version__,
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return what is printed of the records; ratios are those to the first value of the axis."""
    rows = [["\nsupernet", "\naxis", "\nvalue", "seconds\nper step", "\nratio", "GB at\nthe peak", "\nratio"]]
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        start = first.setdefault((record["supernet"], record["axis"]), record)
        ratios = [record[key] / start[key] for key in ("step_seconds", "memory_bytes")]
        seconds, memory = f"{record['step_seconds']:.3f}", f"{record['memory_bytes'] / 1e9:.3f}"
        number = f"{record['value']:g}"
        rows.append(
            [record["supernet"], record["axis"], number, seconds, f"{ratios[0]:.2f}", memory, f"{ratios[1]:.2f}"]
        )
    return aligned(rows)


def main(arguments: Sequence[str] | None = None, axes: Axes | None = None) -> None:
    """Measure the supernets that the command line names, print a table, draw a picture and write the numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.speed.scaling", description="Step time and memory against the size of a supernet."
    )
    some = f"may be repeated; default: {', '.join(DEFAULT)}"
    parser.add_argument("--supernet", action="append", choices=SUPERNETS, help=some)
    parser.add_argument("--channels", type=int, default=8, help="C where it is not varied (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=5, help="layers, or cells per stage (default: %(default)s)")
    parser.add_argument("--capture", choices=["none", "cuda_graphs"], default="none", help="as search.capture; on cuda")
    parser.add_argument("--repeat", type=int, default=3, help="steps, of which the median counts (default: 3)")
    parser.add_argument("--output", default="logs/bench/scaling", help=".json and .png are appended: %(default)s")
    add_arguments(parser, batch=32)
    options = parser.parse_args(arguments)
    try:
        POSITIVE_INT.check("--repeat", options.repeat)
        under = conditions(options)
        records: list[dict[str, Any]] = []
        for name in options.supernet or DEFAULT:
            base = Setting(name, options.channels, options.depth)
            records += scale(base, under, options.repeat, axes or Axes())
            write_json(records, f"{options.output}.json")
    except ValueError as error:
        sys.exit(str(error))
    base_size = f"C={options.channels}, depth {options.depth}, batch {options.batch}"
    figure = save(draw_scaling(records, f"One bilevel step, from {base_size}"), options.output)
    show(f"{under}, medians of {options.repeat}\none thing varied at a time, from {base_size}\n")
    show(f"{table(records)}\n\nwritten to {options.output}.json and {figure}")


if __name__ == "__main__":  # a process of its own imports this file too
    main()
