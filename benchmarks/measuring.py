"""Wall time of calls, and the peak memory of a step."""

import mmap
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

import torch

from archselect.training.fit import peak_resident
from benchmarks.settings import Conditions, Device
from benchmarks.sides import Side, data_for

P = ParamSpec("P")
R = TypeVar("R")

WARM_UP_IMAGES = 2


def synchronize(device: Device) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: Device) -> float:
    """Return how long one call takes, on a GPU to its last kernel."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def medians(runs: Sequence[Callable[[], object]], repeat: int, device: Device, warm_ups: int = 1) -> list[float]:
    """Return the median seconds of each of `runs`, which take turns `repeat` times after some warm-ups of each."""
    for run in runs:
        for _ in range(warm_ups):
            run()
    rounds = [[seconds(run, device) for run in runs] for _ in range(repeat)]
    return [median(times) for times in zip(*rounds, strict=True)]


def in_new_process(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return `function(*args, **kwargs)`, called in a process of its own."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["archselect.search", "archselect.search_spaces"]
    )  # imported once, not in every process
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *args, **kwargs).result()


def step_memory(side: Side, conditions: Conditions) -> int:
    """Return the bytes that a step takes beside the network and its batches, at its peak.

    A step on two images comes first, so that what is made once (threads, compiled kernels) does not count.
    """
    side.step(data_for(side, conditions, WARM_UP_IMAGES))
    data = data_for(side, conditions)
    measure = cuda_peak if conditions.device == "cuda" else resident_peak
    return measure(lambda: side.step(data))


def resident_peak(run: Callable[[], object]) -> int:
    """Return by how many bytes the resident set of this process grows in a call, at its peak; at least one page.

    Memory that was freed before, and that the process still holds, does not count: call it early.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget an earlier peak (proc_pid_clear_refs(5))
    before = peak_resident()
    run()
    return max(peak_resident() - before, mmap.PAGESIZE)


def cuda_peak(run: Callable[[], object]) -> int:
    """Return by how many bytes the tensors on the GPU grow in a call, at their peak.

    CUDA graphs keep what they need between two replays; that belongs to PyTorch's reserve and does not count.
    """
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
