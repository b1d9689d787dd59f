"""How the time of a run falls to kinds of work."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from .conditions import Conditions, Device
from .stopwatch import seconds
from .work import Kind, work_of

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
    with profile(activities=activities, record_shapes=True) as profiler:
        total = seconds(run, device)
    walk = _Walk(device, conditions.dtype)
    for event in profiler.events():
        if event.device_type == DeviceType.CPU and event.cpu_parent is None:
            walk(event)
    tallies = dict(walk.tallies)
    tallies[OTHER] = Tally(total - sum(tally.seconds for tally in tallies.values()))
    return total, tallies


class _Walk:
    """Adds up what the outermost operators with work of their own need, with all that they call.

    What stands inside a pooling of one's own (an autograd function with `Pool` in its name) is pooling.
    """

    def __init__(self, device: Device, dtype: torch.dtype) -> None:
        self.device = device
        self.width = dtype.itemsize
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def __call__(self, event: FunctionEvent, within: Kind | None = None) -> None:
        if within is None and "Pool" in event.name and not event.name.startswith("aten::"):
            within = "pooling"
        # PyTorch before 2.12 does not record the shapes of lists.
        shapes = getattr(event, "structured_input_shapes", event.input_shapes)
        work = work_of(event.name, shapes, event.concrete_inputs)
        if work is not None:
            tally = self.tallies[within or work.kind]
            tally.calls += 1
            tally.bytes += self.width * work.numbers
            tally.operations += work.operations
            tally.seconds += 1e-6 * self._time(event)
            return
        if within is not None:
            self.tallies[within].seconds += 1e-6 * self._own_time(event)
        for child in event.cpu_children:
            self(child, within)

    def _time(self, event: FunctionEvent) -> float:
        return event.device_time_total if self.device == "cuda" else event.cpu_time_total

    def _own_time(self, event: FunctionEvent) -> float:
        return event.self_device_time_total if self.device == "cuda" else event.self_cpu_time_total
