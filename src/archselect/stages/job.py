"""What all stages of a run have in common, and how a stage's folder is filled once and for all."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from rich.console import Console

from archselect.allocation import keep_freed_memory
from archselect.data import ImageData
from archselect.places import all_written
from archselect.spaces import SearchSpace
from archselect.stages.fitting import CHECKPOINT, HISTORY, SCRATCH, Fitting, Record, TrainerFactory
from archselect.stages.progress import Progress
from archselect.store import StageFolder, StageKey, Store
from archselect.store.provenance import provenance


@dataclass(frozen=True)
class Job:
    """What every stage of a run is given.

    Attributes:
        seed: Everything random in the run derives from it.
        space: The search space.
        data: The images.
        trainer: Makes Lightning trainers.
        store: Where stages are kept.
        console: Where progress is shown.
        log: Called with a stage's name and each record of its history.
    """

    seed: int
    space: SearchSpace
    data: ImageData
    trainer: TrainerFactory
    store: Store
    console: Console
    log: Callable[[str, Record], None]


@dataclass(frozen=True)
class Finished:
    """A finished stage.

    Attributes:
        folder: Where it lies.
        result: What it came to.
        reused: Whether it was there already.
    """

    folder: StageFolder
    result: Mapping[str, Any]
    reused: bool


class Stage(Protocol):
    """A pure function of its key: what determines its result."""

    @property
    def key(self) -> StageKey:
        """Return what determines the result."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the part of the resolved config that the stage was made from."""
        ...

    def work(self, fitting: Fitting) -> Mapping[str, Any]:
        """Fill the folder and return the result."""
        ...


def run_stage(stage: Stage, job: Job) -> Finished:
    """Return the finished stage: from the store, by waiting for another process that is at it, or by doing the work."""
    kind = stage.key.kind
    folder = job.store.folder(stage.key)
    if not folder.finished:
        with folder.lock(lambda: job.console.print(f"{kind:<10} waiting for another process at {folder.path}")):
            if not folder.finished:
                return _fill(stage, folder, job)
    for record in folder.read_lines(HISTORY):
        job.log(kind, record)
    return Finished(folder, folder.result(), reused=True)


def _fill(stage: Stage, folder: StageFolder, job: Job) -> Finished:
    """Do the work of a stage, or go on with it, and mark its folder finished."""
    kind = stage.key.kind
    with Progress(job.console, kind) as progress:
        fitting = Fitting(folder, job.trainer, progress, lambda record: job.log(kind, record))
        if fitting.device.type == "cpu":
            keep_freed_memory()
        folder.begin(all_written(stage.config), provenance(_name(fitting.device), {"seed": job.seed}))
        for record in folder.read_lines(HISTORY):
            job.log(kind, record)
        result = stage.work(fitting)
    folder.finish(result)
    # Not before: a kill in between would cost the whole stage.
    (folder.path / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(folder.path / SCRATCH, ignore_errors=True)
    return Finished(folder, result, reused=False)


def _name(device: torch.device) -> str:
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
