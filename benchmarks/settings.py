"""What is timed: a supernet and its size; and under which conditions: device, precision, batch size, threads."""

import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from archselect import kernels
from archselect.models.supernet.supernet import Supernet
from archselect.search import SearchMethod
from archselect.search_spaces import SearchSpace, instantiate_space
from archselect.store.provenance import git_state
from archselect.training.cuda_graphs import CaptureName
from archselect.training.fit import keep_freed_memory
from archselect.utils.validation import POSITIVE_INT

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
SUPERNETS = ("darts", "s1", "s2", "s3", "nasbench201")  # not s4: two sides that draw noise cannot be compared
THREE = ("darts", "s2", "nasbench201")
IMAGE_SIZE, CLASSES = 32, 10

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Setting:
    """A supernet on images of 32x32.

    Attributes:
        supernet: A file of `configs/search_space`.
        channels: C; None: as configured.
        depth: `layers`, or `cells_per_stage` of NAS-Bench-201; None: as configured.
        decided: Share of the edges that are decided, spread over the cell and over the candidate operations.
    """

    supernet: str
    channels: int | None = None
    depth: int | None = None
    decided: float = 0.0

    def space(self) -> SearchSpace:
        """Return the search space in this size; a ValueError if it has none of this size."""
        config = self._config.search_space
        if self.channels is not None:
            config.channels = self.channels
        if self.depth is not None:
            config["cells_per_stage" if "cells_per_stage" in config else "layers"] = self.depth
        try:
            space = instantiate_space(config)
        except InstantiationException as error:
            raise ValueError(str(error.__cause__)) from error  # the space's own sentence
        return space

    def method(self) -> SearchMethod:
        """Return the search method that `train.py` takes by default."""
        method: SearchMethod = instantiate(self._config.search, _convert_="all")
        return method

    def build(self, method: SearchMethod | None = None) -> Supernet:
        """Return the supernet as a search method wants it, with the same weights at every call."""
        torch.manual_seed(0)
        supernet = self.space().supernet(IMAGE_SIZE, CLASSES, (method or self.method()).variant)
        decide(supernet, self.decided)
        return supernet

    @property
    def _config(self) -> DictConfig:
        groups = {"search_space": self.supernet, "search": "darts", "protocol": "paper"}
        return OmegaConf.create({group: OmegaConf.load(CONFIGS / group / f"{of}.yaml") for group, of in groups.items()})


def decide(supernet: Supernet, share: float) -> None:
    """Decide that share of the edges of every cell type: evenly spread ones, each for another candidate in turn."""
    decided = dict(supernet.decisions)
    for cell, space in supernet.cell_spaces.items():
        edges = len(space.operations)
        count = round(share * edges)
        for edge in (number * edges // count for number in range(count)):
            decided[cell] = decided[cell].keep_operation(edge, edge % len(space.operations[edge]))
    supernet.decisions = decided


@dataclass(frozen=True)
class Conditions:
    """Device, precision, images in each of the two batches of a step, threads; two options of `SearchMethod`.

    What is captured or recomputed is the supernet of the package; the plain one runs as it is.
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


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute convolutions in full float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def device_name(device: Device) -> str:
    """Return what the device calls itself."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> str:
    """Return the version of PyTorch and the commit, marked if anything differs from it."""
    git = git_state(ROOT / "train.py")
    commit = "" if git is None else f", commit {git['commit'][:7]}{' and changes' if git['dirty'] else ''}"
    return f"PyTorch {torch.__version__}{commit}"


def add_conditions(parser: ArgumentParser, batch: int, repeat: int, captures: bool = False) -> None:
    """Add the options of `Conditions`, with `--capture` for a command that captures steps, and `--repeat`."""
    parser.add_argument("--repeat", type=int, default=repeat, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="images of 32x32 in a batch (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="bf16: under autocast")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--recompute", action="store_true", help="as search.recompute")
    parser.set_defaults(capture="none")
    if captures:
        parser.add_argument("--capture", choices=["none", "cuda_graphs"], help="as search.capture; on cuda")


def add_supernets(
    parser: ArgumentParser, supernets: Sequence[str], channels: int | None = None, depth: int | None = None
) -> None:
    """Add `--supernet`, `--channels` and `--depth`."""
    some = f"one or more; default: {' '.join(supernets)}"
    parser.add_argument("--supernet", nargs="+", choices=SUPERNETS, default=list(supernets), help=some)
    parser.add_argument("--channels", type=int, default=channels, help=f"C; default: {channels or 'as configured'}")
    of_depth = f"layers, or cells per stage; default: {depth or 'as configured'}"
    parser.add_argument("--depth", type=int, default=depth, help=of_depth)


def conditions(options: Namespace) -> Conditions:
    """Return what the options say, and apply it to this process; a ValueError if it cannot be."""
    POSITIVE_INT.check("--repeat", options.repeat)
    found = Conditions(**{field.name: getattr(options, field.name) for field in fields(Conditions)})
    found.apply()
    return found


def settings(options: Namespace) -> list[Setting]:
    """Return the supernets that the options name."""
    return [Setting(name, options.channels, options.depth) for name in options.supernet]
