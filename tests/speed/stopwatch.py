"""Wall time of calls."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from .conditions import Device


def seconds(run: Callable[[], object], device: Device) -> float:
    """Return how long one call takes, on a GPU to its last kernel."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def medians(runs: Sequence[Callable[[], object]], repeat: int, device: Device) -> list[float]:
    """Return the median seconds of each of `runs`, which take turns `repeat` times after one warm-up each."""
    for run in runs:
        run()
    rounds = [[seconds(run, device) for run in runs] for _ in range(repeat)]
    return [median(times) for times in zip(*rounds, strict=True)]


def _wait(device: Device) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
