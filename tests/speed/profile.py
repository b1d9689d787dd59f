"""What a step is made of, beside the limits of the machine: `python -m tests.speed.profile`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args

from .conditions import Conditions, add_arguments, conditions
from .kinds import OTHER, Tally, profiled
from .limits import Limits, measure_limits
from .setting import SUPERNETS, Setting
from .sides import SIDES, SideName, data_for
from .stopwatch import medians
from .table import aligned, progress, show

ROWS = 10
WHAT = ("step", "forward", "alpha", "weights")


def workload(setting: Setting, under: Conditions, side: SideName, what: str) -> Callable[[], object]:
    """Return what is profiled, as a call; a ValueError for a part that this side does not have."""
    if side == "reference" and what in ("alpha", "weights"):
        raise ValueError(f"The reference computes all gradients at once; give --what step or forward, not {what}.")
    network = SIDES[side](setting, under)
    return partial(getattr(network, what), data_for(network, under))


def table(total: float, tallies: Mapping[str, Tally], limits: Limits) -> str:
    """Return what is printed of the costliest kinds, and of all together."""
    rows = [["\nkind of work", "share of\ntime, %", "\nms", "\ncalls"]]
    rows[0] += ["\nGB", "GB/s, %\nof limit", "\nGFLOP", "GFLOP/s, %\nof limit"]
    costliest = sorted(tallies.items(), key=lambda item: item[1].seconds, reverse=True)
    rows += [_row(kind, tally, total, limits) for kind, tally in costliest[:ROWS]]
    calls, needed, operations = (
        sum(getattr(tally, of) for tally in tallies.values()) for of in ("calls", "bytes", "operations")
    )
    rows.append(_row("all", Tally(total, calls, needed, operations), total, limits))
    return aligned(rows)


def _row(kind: str, tally: Tally, total: float, limits: Limits) -> list[str]:
    start = [kind, f"{100 * tally.seconds / total:.1f}", f"{1e3 * tally.seconds:.1f}"]
    if kind == OTHER:
        return [*start, *["-"] * 5]
    time = max(tally.seconds, 1e-9)
    bandwidth = 100 * tally.bytes / time / limits.bytes
    arithmetic = 100 * tally.operations / time / limits.operations
    gigabytes, gigaoperations = f"{tally.bytes / 1e9:.3f}", f"{tally.operations / 1e9:.3f}"
    return [*start, str(tally.calls), gigabytes, f"{bandwidth:.1f}", gigaoperations, f"{arithmetic:.1f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile the supernet that the command line names and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.speed.profile", description="The costliest kinds of work in a step of a supernet."
    )
    parser.add_argument("--supernet", choices=SUPERNETS, default="s2", help="default: %(default)s")
    parser.add_argument("--what", choices=WHAT, default="step", help="default: %(default)s")
    parser.add_argument("--side", choices=get_args(SideName), default="fast", help="default: %(default)s")
    parser.add_argument("--channels", type=int, help="C; default: as configured")
    parser.add_argument("--depth", type=int, help="layers, or cells per stage; default: as configured")
    add_arguments(parser, batch=64)
    options = parser.parse_args(arguments)
    try:
        under = conditions(options)
        run = workload(Setting(options.supernet, options.channels, options.depth), under, options.side, options.what)
    except ValueError as error:
        sys.exit(str(error))
    progress("limits of the machine ...")
    limits = measure_limits(under)
    progress(f"{options.supernet}, {options.what} ...")
    (alone,) = medians([run], 1, under.device)
    total, tallies = profiled(run, under)
    show(f"{under}")
    show(f"{options.supernet}, {options.side}, {options.what}: {alone:.3f} s, {total:.3f} s under the profiler")
    show(f"limits: {limits.operations / 1e9:.1f} GFLOP/s (matrix product), {limits.bytes / 1e9:.1f} GB/s (addition)")
    show("GB and GFLOP are what the calls need at least, each tensor read or written once\n")
    show(table(total, tallies, limits))


if __name__ == "__main__":
    main()
