"""What kinds of work a step is made of, beside the limits of the machine.

GB and GFLOP are what the calls need at least, each tensor read or written once. On a GPU the time of a kind is that of
its kernels. The rest is Python, dispatch, what the profiler adds, and on a GPU waiting for the host.
"""

from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import medians, seconds
from benchmarks.output import progress, show, show_table
from benchmarks.settings import Conditions, Device, Setting, add_conditions, add_supernets, conditions, settings
from benchmarks.sides import SIDES, SideName, data_for
from benchmarks.work import recorded, work_of

OTHER = "other, incl. Python"
ROWS = 10


@dataclass
class Tally:
    """What fell to a kind: seconds, calls, and the bytes and floating point operations that they need at least."""

    seconds: float = 0.0
    calls: int = 0
    bytes: int = 0
    operations: int = 0


def activities(device: Device) -> list[ProfilerActivity]:
    """Return what PyTorch's profiler looks at."""
    return [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])


def profiled(run: Callable[[], object], under: Conditions) -> tuple[float, dict[str, Tally]]:
    """Return the seconds of a call under the profiler, and how they fall to kinds of work.

    Numbers count as wide as the precision, also where autocast keeps float32.
    """
    tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def walk(event: FunctionEvent) -> None:
        """Add up what the outermost operators with work of their own need, with all that they call."""
        # PyTorch before 2.12 does not record the shapes of lists.
        shapes = getattr(event, "structured_input_shapes", event.input_shapes)
        work = work_of(event.name, shapes, event.concrete_inputs)
        if work is None:
            for child in event.cpu_children:
                walk(child)
            return
        tally = tallies[work.kind]
        tally.calls += 1
        tally.bytes += under.dtype.itemsize * work.numbers
        tally.operations += work.operations
        tally.seconds += 1e-6 * (event.device_time_total if under.device == "cuda" else event.cpu_time_total)

    with recorded(), profile(activities=activities(under.device), record_shapes=True) as profiler:
        total = seconds(run, under.device)
    for event in profiler.events():
        if event.device_type == DeviceType.CPU and event.cpu_parent is None:
            walk(event)
    rest = total - sum(tally.seconds for tally in tallies.values())
    return total, {**tallies, OTHER: Tally(rest)}


class Limits(NamedTuple):
    """Floating point operations per second of a large matrix product, bytes per second of a large addition in place."""

    operations: float
    bytes: float


def measure_limits(under: Conditions, side: int | None = None, elements: int = 64 * 1024**2, repeat: int = 5) -> Limits:
    """Return the best of a few runs, on square matrices of that side, and on two tensors far larger than a cache."""
    side = side or (8192 if under.device == "cuda" else 2048)
    matrix = torch.randn(side, side, device=under.device).to(under.dtype)
    out = torch.empty_like(matrix)
    product = min(seconds(lambda: torch.mm(matrix, matrix, out=out), under.device) for _ in range(repeat))
    total, summand = (torch.zeros(elements, device=under.device, dtype=under.dtype) for _ in range(2))
    addition = min(seconds(lambda: total.add_(summand), under.device) for _ in range(repeat))
    return Limits(2 * side**3 / product, 3 * elements * under.dtype.itemsize / addition)


HEADING = (
    *("\nkind of work", "share of\ntime, %", "\nms", "\ncalls"),
    *("\nGB", "GB/s, %\nof limit", "\nGFLOP", "GFLOP/s, %\nof limit"),
)


def rows(total: float, tallies: Mapping[str, Tally], limits: Limits) -> list[list[str]]:
    """Return what is printed of the costliest kinds, and of all together."""
    every = tallies.values()
    counts = [sum(getattr(tally, of) for tally in every) for of in ("calls", "bytes", "operations")]
    costliest = sorted(tallies.items(), key=lambda item: item[1].seconds, reverse=True)
    found = []
    for kind, tally in [*costliest[:ROWS], ("all", Tally(total, *counts))]:
        row = [kind, f"{100 * tally.seconds / total:.1f}", f"{1e3 * tally.seconds:.1f}", str(tally.calls)]
        time = max(tally.seconds, 1e-9)
        for needed, limit in ((tally.bytes, limits.bytes), (tally.operations, limits.operations)):
            row += [f"{needed / 1e9:.3f}", f"{100 * needed / time / limit:.1f}"]
        found.append(row)
    return found


def workload(setting: Setting, under: Conditions, side: SideName, what: str) -> Callable[[], object]:
    """Return what is profiled, as a call; a ValueError for a part that this side does not have."""
    if side == "plain" and what in ("alpha", "weights"):
        raise ValueError(f"The plain side computes all gradients at once; give --what step or forward, not {what}.")
    network = SIDES[side](setting, under)
    return partial(getattr(network, what), data_for(network, under))


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    add_supernets(parser, ("s2",))
    add_conditions(parser, batch=64, repeat=3)
    parser.add_argument("--what", choices=("step", "forward", "alpha", "weights"), default="step")
    parser.add_argument("--side", choices=get_args(SideName), default="package", help="default: %(default)s")


def run(options: Namespace) -> None:
    """Profile the supernets and print a table of each."""
    under = conditions(options)
    progress("limits of the machine ...")
    limits = measure_limits(under)
    show(f"{under}")
    show(f"limits: {limits.operations / 1e9:.1f} GFLOP/s (matrix product), {limits.bytes / 1e9:.1f} GB/s (addition)")
    for setting in settings(options):
        call = workload(setting, under, options.side, options.what)
        (alone,) = medians([call], options.repeat, under.device)
        total, tallies = profiled(call, under)
        what = f"{setting.supernet}, {options.side}, {options.what}"
        show(f"\n{what}: {alone:.3f} s, {total:.3f} s under the profiler")
        show_table(HEADING, rows(total, tallies, limits))
