"""A supernet against the plain one of tests/reference: step, forward, memory."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from benchmarks.measuring import in_new_process, medians, step_memory
from benchmarks.output import progress, show, show_table, write_json
from benchmarks.settings import THREE, Conditions, Setting, add_conditions, add_supernets, conditions, settings
from benchmarks.sides import SIDES, Package, Plain, SideName, check_agreement, data_for

Memory = Callable[[Setting, Conditions, SideName], int]


def memory_in_new_process(setting: Setting, conditions: Conditions, side: SideName) -> int:
    """Return `step_memory` of that side as a process of its own measures it."""
    return in_new_process(_memory, setting, conditions, side)


def _memory(setting: Setting, conditions: Conditions, side: SideName) -> int:
    conditions.apply()
    return step_memory(SIDES[side](setting, conditions), conditions)


def compare(
    setting: Setting, conditions: Conditions, repeat: int, memory: Memory = memory_in_new_process
) -> dict[str, Any]:
    """Return times and memory of both sides as JSON data; ratios of times above 1 are in favour of the package.

    Args:
        setting: Which supernet.
        conditions: Under which conditions.
        repeat: Rounds, of which the median counts.
        memory: Measures the peak memory of a step in bytes.

    Raises:
        ValueError: The two sides do not compute the same.
    """
    package, plain = Package(setting, conditions), Plain(setting, conditions)
    check_agreement(package, plain, conditions)
    record: dict[str, Any] = {}
    for what in ("step", "forward"):
        runs = [partial(getattr(side, what), data_for(side, conditions)) for side in (plain, package)]
        of_plain, of_package = medians(runs, repeat, conditions.device)  # the sides take turns
        record[f"{what}_ratio"] = of_plain / of_package
        record[f"{what}_seconds"], record[f"plain_{what}_seconds"] = of_package, of_plain
    record["memory_bytes"], record["plain_memory_bytes"] = (memory(setting, conditions, side) for side in SIDES)
    record["memory_ratio"] = record["memory_bytes"] / record["plain_memory_bytes"]
    about = {"repeat": repeat, "torch": torch.__version__, "conditions": str(conditions)}
    return record | asdict(setting) | asdict(conditions) | about


def _pair(record: dict[str, Any], key: str, unit: float = 1.0) -> str:
    return f"{record[key] / unit:.3f} / {record[f'plain_{key}'] / unit:7.3f}"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    add_supernets(parser, THREE)
    add_conditions(parser, batch=64, repeat=3, captures=True)
    parser.add_argument("--output", default="logs/bench/latest.json", help="default: %(default)s")


def run(options: Namespace) -> None:
    """Compare the supernets, print a table and write the numbers."""
    under = conditions(options)
    records: list[dict[str, Any]] = []
    for setting in settings(options):
        progress(f"{setting.supernet} ...")
        records.append(compare(setting, under, options.repeat))
        write_json(records, options.output)
    show(f"{under}, medians of {options.repeat}\nratio of times: plain / package; of memory: package / plain")
    heading = [f"{what}\nratio" for what in ("step", "forward", "memory")]
    heading += [f"{what}\npackage / plain" for what in ("seconds per step", "seconds per forward", "GB at the peak")]
    rows = []
    for record in records:
        ratios = [f"{record[f'{what}_ratio']:.2f}" for what in ("step", "forward", "memory")]
        seconds = [_pair(record, "step_seconds"), _pair(record, "forward_seconds")]
        rows.append([record["supernet"], *ratios, *seconds, _pair(record, "memory_bytes", 1e9)])
    show_table(["\nsupernet", *heading], rows)
    show(f"written to {options.output}")
