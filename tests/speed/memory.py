"""Peak memory of a bilevel step, measured in a process of its own."""

import mmap
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from .conditions import Conditions
from .setting import Setting
from .sides import SIDES, Side, SideName, data_for

P = ParamSpec("P")
R = TypeVar("R")

WARM_UP_IMAGES = 2


def apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return `function(*args, **kwargs)`, called in a process of its own."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["archselect.search", "archselect.search_spaces"]
    )  # imported once, not in every process
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *args, **kwargs).result()


def memory_apart(setting: Setting, conditions: Conditions, side: SideName) -> int:
    """Return `step_memory` of that side as a process of its own measures it."""
    return apart(_memory, setting, conditions, side)


def _memory(setting: Setting, conditions: Conditions, side: SideName) -> int:
    conditions.apply()
    return step_memory(SIDES[side](setting, conditions), conditions)


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
    # Forget an earlier peak (proc_pid_clear_refs(5)).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    run()
    return max(_status("VmHWM") - before, mmap.PAGESIZE)


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


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(kilobytes)
