"""Under which conditions a supernet is timed."""

import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from archselect import kernels
from archselect.store.provenance import git_state
from archselect.training.cuda_graphs import CaptureName
from archselect.training.fit import keep_freed_memory
from archselect.utils.validation import POSITIVE_INT

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Conditions:
    """Device, precision, images in each of the two batches of a step, threads; two options of `SearchMethod`.

    What is captured or recomputed is the fast side; the reference runs as it is.
    """

    device: Device = "cpu"
    precision: Precision = "float32"
    batch: int = 64
    threads: int = field(default_factory=torch.get_num_threads)
    capture: CaptureName = "none"
    recompute: bool = False

    def __post_init__(self) -> None:
        POSITIVE_INT.check("--batch", self.batch)
        POSITIVE_INT.check("--threads", self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda needs a CUDA device, but PyTorch finds none. Use --device cpu.")
        if self.device != "cuda" and self.capture == "cuda_graphs":
            raise ValueError(f"--capture cuda_graphs needs --device cuda; got --device {self.device}.")

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions compute in."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def apply(self) -> None:
        """Make this process use as many threads, and keep memory as a run does."""
        torch.set_num_threads(self.threads)
        if self.device == "cpu":
            keep_freed_memory()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a step as a run does: on the compiled loops, and under autocast as Lightning enters it."""
        autocast = torch.autocast(self.device, torch.bfloat16, self.precision == "bf16", cache_enabled=False)
        with kernels.enabled(), autocast:
            yield

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        options = "" if self.capture == "none" else f", {self.capture}"
        options += ", recompute" if self.recompute else ""
        return f"{device_name(self.device)}, {threads}, batch {self.batch}, {self.precision}{options}, {versions()}"


def device_name(device: Device) -> str:
    """Return what the device calls itself."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> str:
    """Return the version of PyTorch and the commit, marked if anything differs from it."""
    git = git_state(Path(__file__).parents[2] / "train.py")
    commit = "" if git is None else f", commit {git['commit'][:7]}{' and changes' if git['dirty'] else ''}"
    return f"PyTorch {torch.__version__}{commit}"


def add_arguments(parser: ArgumentParser, batch: int) -> None:
    """Add the options of `conditions`; a command that can capture steps adds `--capture` itself."""
    parser.set_defaults(capture="none")
    parser.add_argument("--batch", type=int, default=batch, help="images of 32x32 in a batch (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="bf16: under autocast")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--recompute", action="store_true", help="as search.recompute")


def conditions(arguments: Namespace) -> Conditions:
    """Return what the options say."""
    return Conditions(
        device=arguments.device,
        precision=arguments.precision,
        batch=arguments.batch,
        threads=arguments.threads,
        capture=arguments.capture,
        recompute=arguments.recompute,
    )
