"""How long a network takes for a batch of images, measured on this machine."""

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.benchmark import Timer

from archselect import kernels
from archselect.costs.count import evaluating

BATCHES = (1, 64)
"""Images per batch that a run measures: one alone, and as many as keep a device busy."""

WHOLE = 0.9  # of the time, that a processor must have worked for this process, for the time to be that of the network


@dataclass(frozen=True)
class Latency:
    """The time that a batch takes.

    Attributes:
        median: Of the runs, in milliseconds.
        interquartile_range: Likewise: how far the middle half of the runs lies apart.
        runs: How many there were.
        disturbed: Whether other processes had part of the processor, so that the network is faster than that. Nothing
            is known of other processes on a GPU: False.
    """

    median: float
    interquartile_range: float
    runs: int
    disturbed: bool


def latency(
    network: nn.Module,
    image_size: int,
    device: torch.device | str,
    batch: int,
    in_channels: int = 3,
    seconds: float = 0.5,
) -> Latency:
    """Return how long a network takes for a batch `(batch, in_channels, image_size, image_size)`.

    That is plain PyTorch in float32, in evaluation mode and without gradients, with the threads that PyTorch has (not
    the compiled loops by which a run computes on a CPU: a network in use has none). Reading images and bringing them to
    the device are not in it. PyTorch's generators are left as they were, and the network where it is then: on `device`.

    Args:
        seconds: How long to measure, after the first runs, which warm up; two runs are made at least.
    """
    device = torch.device(device)
    images = torch.rand(batch, in_channels, image_size, image_size, generator=torch.Generator().manual_seed(0))
    there = {"network": network.to(device), "images": images.to(device)}
    timer = Timer("network(images)", globals=there, num_threads=torch.get_num_threads())
    devices = [device] if device.type == "cuda" else []
    with torch.inference_mode(), kernels.disabled(), evaluating(network), torch.random.fork_rng(devices):
        began, worked = time.perf_counter(), time.process_time()
        measured = timer.blocked_autorange(min_run_time=seconds)
        worked, took = time.process_time() - worked, time.perf_counter() - began
    runs = len(measured.times) * measured.number_per_run
    return Latency(1e3 * measured.median, 1e3 * measured.iqr, runs, device.type == "cpu" and worked < WHOLE * took)


def describe_device(device: torch.device) -> str:
    """Return what a latency depends on besides the network, such as `cpu (AMD EPYC 7B13, 2 threads), PyTorch 2.6`."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        threads = torch.get_num_threads()
        name = f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"
    else:
        name = platform.machine()
    return f"{device.type} ({name}), PyTorch {torch.__version__}"


def _processor() -> str:
    """Return the model of the processor, which Python knows on some systems only."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
