"""A supernet against the plain one: `python -m tests.speed`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from archselect.utils.validation import POSITIVE_INT

from .conditions import Conditions, add_arguments, conditions
from .memory import memory_apart
from .setting import SUPERNETS, Setting
from .sides import Fast, Reference, Side, SideName, check_agreement, data_for
from .stopwatch import medians
from .table import aligned, progress, show, write_json

DEFAULT = ("darts", "s2", "nasbench201")

Memory = Callable[[Setting, Conditions, SideName], int]


def compare(setting: Setting, conditions: Conditions, repeat: int, memory: Memory = memory_apart) -> dict[str, Any]:
    """Return times and memory of both sides as JSON data; ratios above 1 are in favour of the fast side, but memory's.

    Args:
        setting: Which supernet.
        conditions: Under which conditions.
        repeat: Rounds, of which the median counts.
        memory: Measures the peak memory of a step in bytes.

    Raises:
        ValueError: The two sides do not compute the same.
    """
    conditions.apply()
    step, forward = times(setting, conditions, repeat)
    sides: tuple[SideName, ...] = ("fast", "reference")
    bytes_needed = {side: memory(setting, conditions, side) for side in sides}
    return {
        "supernet": setting.supernet,
        "device": conditions.device,
        "precision": conditions.precision,
        "batch": conditions.batch,
        "step_ratio": step["reference"] / step["fast"],
        "forward_ratio": forward["reference"] / forward["fast"],
        "memory_ratio": bytes_needed["fast"] / bytes_needed["reference"],
        "step_seconds": step["fast"],
        "reference_step_seconds": step["reference"],
        "forward_seconds": forward["fast"],
        "reference_forward_seconds": forward["reference"],
        "memory_bytes": bytes_needed["fast"],
        "reference_memory_bytes": bytes_needed["reference"],
        "channels": setting.channels,
        "depth": setting.depth,
        "capture": conditions.capture,
        "recompute": conditions.recompute,
        "repeat": repeat,
        "threads": conditions.threads,
        "torch": torch.__version__,
        "conditions": str(conditions),
    }


def times(setting: Setting, conditions: Conditions, repeat: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of a step and of a forward, by side; the sides take turns in this process."""
    fast, reference = Fast(setting, conditions), Reference(setting, conditions)
    check_agreement(fast, reference, conditions)
    sides: dict[SideName, Side] = {"reference": reference, "fast": fast}
    data = {name: data_for(side, conditions) for name, side in sides.items()}
    found = []
    for what in ("step", "forward"):
        runs = [partial(getattr(side, what), data[name]) for name, side in sides.items()]
        found.append(dict(zip(sides, medians(runs, repeat, conditions.device), strict=True)))
    step, forward = found
    return step, forward


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return what is printed of the records."""
    heading = ["\nsupernet", "step\nratio", "forward\nratio", "memory\nratio"]
    heading += [f"{what}\nfast / reference" for what in ("seconds per step", "seconds per forward", "GB at the peak")]
    rows = [heading]
    for record in records:
        ratios = [f"{record[f'{what}_ratio']:.2f}" for what in ("step", "forward", "memory")]
        seconds = [_pair(record, "step_seconds"), _pair(record, "forward_seconds")]
        rows.append([record["supernet"], *ratios, *seconds, _pair(record, "memory_bytes", 1e9)])
    return aligned(rows)


def _pair(record: dict[str, Any], key: str, unit: float = 1.0) -> str:
    return f"{record[key] / unit:.3f} / {record[f'reference_{key}'] / unit:7.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the supernets that the command line names, print a table and write the numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.speed", description="Time the supernets against the plain ones of tests/reference."
    )
    some = f"may be repeated; default: {', '.join(DEFAULT)}"
    parser.add_argument("--supernet", action="append", choices=SUPERNETS, help=some)
    parser.add_argument("--channels", type=int, help="C; default: as configured")
    parser.add_argument("--depth", type=int, help="layers, or cells per stage; default: as configured")
    parser.add_argument("--capture", choices=["none", "cuda_graphs"], default="none", help="as search.capture; on cuda")
    parser.add_argument("--repeat", type=int, default=3, help="rounds, of which the median counts (default: 3)")
    parser.add_argument("--output", default="logs/bench/latest.json", help="default: %(default)s")
    add_arguments(parser, batch=64)
    options = parser.parse_args(arguments)
    try:
        POSITIVE_INT.check("--repeat", options.repeat)
        under = conditions(options)
        records: list[dict[str, Any]] = []
        for name in options.supernet or DEFAULT:
            progress(f"{name} ...")
            records.append(compare(Setting(name, options.channels, options.depth), under, options.repeat))
            write_json(records, options.output)
    except ValueError as error:
        sys.exit(str(error))
    show(f"{under}, medians of {options.repeat}\nratio of times: reference / fast; of memory: fast / reference\n")
    show(f"{table(records)}\n\nwritten to {options.output}")
