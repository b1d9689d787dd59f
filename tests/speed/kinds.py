"""How the time of a run falls to kinds of work."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from .conditions import Conditions, Device
from .native_loops import recorded
from .stopwatch import seconds
from .work import work_of

OTHER = "other, incl. Python"


@dataclass
class Tally:
    """What fell to a kind: seconds, calls, and the bytes and floating point operations that they need at least."""

    seconds: float = 0.0
    calls: int = 0
    bytes: int = 0
    operations: int = 0


def profiled(run: Callable[[], object], conditions: Conditions) -> tuple[float, dict[str, Tally]]:
    """Return the seconds of a call under the profiler, and how they fall to kinds of work.

    On a GPU the time of a kind is that of its kernels, and `OTHER` includes waiting for the host. Numbers count as wide
    as the precision, also where autocast keeps float32.
    """
    device = conditions.device
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with recorded(), profile(activities=activities, record_shapes=True) as profiler:
        total = seconds(run, device)
    walk = _Walk(device, conditions.dtype)
    for event in profiler.events():
        if event.device_type == DeviceType.CPU and event.cpu_parent is None:
            walk(event)
    tallies = dict(walk.tallies)
    tallies[OTHER] = Tally(total - sum(tally.seconds for tally in tallies.values()))
    return total, tallies


class _Walk:
    """Adds up what the outermost operators with work of their own need, with all that they call."""

    def __init__(self, device: Device, dtype: torch.dtype) -> None:
        self.device = device
        self.width = dtype.itemsize
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def __call__(self, event: FunctionEvent) -> None:
        # PyTorch before 2.12 does not record the shapes of lists.
        shapes = getattr(event, "structured_input_shapes", event.input_shapes)
        work = work_of(event.name, shapes, event.concrete_inputs)
        if work is None:
            for child in event.cpu_children:
                self(child)
            return
        tally = self.tallies[work.kind]
        tally.calls += 1
        tally.bytes += self.width * work.numbers
        tally.operations += work.operations
        tally.seconds += 1e-6 * (event.device_time_total if self.device == "cuda" else event.cpu_time_total)
