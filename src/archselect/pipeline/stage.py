"""What all stages of a run have in common, and how a stage's folder is filled once and for all."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from rich.console import Console

from archselect import kernels
from archselect.data import ImageData
from archselect.distributed.process_group import check_same, on_main_process, place
from archselect.search_spaces import SearchSpace
from archselect.store import CHECKPOINTS, DamagedError, StageFolder, StageKey, Store
from archselect.store.key import Kind
from archselect.store.provenance import provenance
from archselect.store.redact_paths import redact_all
from archselect.tasks import Task
from archselect.training.devices import TrainerFactory
from archselect.training.fit import HISTORY, Record, StageTrainer, keep_freed_memory, out_of_memory
from archselect.training.progress import Progress, warn
from archselect.utils.errors import UserError


def _by_main_process(method: str) -> Callable[..., Any]:
    def call(folder: StageFolder, *arguments: Any, **named: Any) -> Any:
        return on_main_process(lambda: getattr(StageFolder, method)(folder, *arguments, **named))

    return call


class SharedFolder(StageFolder):
    """A stage's folder in which the main process reads and writes for all: they must ask at once, and get the same."""

    begin, finish, result = map(_by_main_process, ("begin", "finish", "result"))
    cleanup, quarantine, read_json = map(_by_main_process, ("cleanup", "quarantine", "read_json"))
    write_text, append_line = map(_by_main_process, ("write_text", "append_line"))
    read_lines, keep_lines = map(_by_main_process, ("read_lines", "keep_lines"))


@dataclass(frozen=True)
class StageContext:
    """What every stage of a run is given; `log` is called with a stage's name and each record of its history."""

    seed: int
    space: SearchSpace
    data: ImageData
    task: Task
    trainer: TrainerFactory
    store: Store
    console: Console
    log: Callable[[str, Record], None] = lambda stage, record: None

    @cached_property
    def fitted_task(self) -> Task:
        """The task with what it has to know of the training images' targets: what trains and scores takes this one."""
        return self.task.fitted(self.data)

    @property
    def outputs(self) -> int:
        """How many numbers a network gives per image."""
        return self.task.outputs(self.data)


@dataclass(frozen=True)
class StageResult:
    """A finished stage: where it lies, what it came to, and whether it was there already."""

    folder: StageFolder
    result: Mapping[str, Any]
    reused: bool


class Stage(Protocol):
    """A pure function of its key, which is made from the part `config` of the resolved config."""

    @property
    def key(self) -> StageKey: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    def run(self, stage_trainer: StageTrainer, /) -> Mapping[str, Any]:
        """Fill the folder and return the result."""


@dataclass(frozen=True)
class RunStage:
    """What search, selection and evaluation have in common; `VERSION` is raised when new code changes the results."""

    kind: ClassVar[Kind]
    VERSION: ClassVar[int] = 1

    job: StageContext
    label: str
    config: Mapping[str, Any]
    identity: Mapping[str, Any]

    @property
    def key(self) -> StageKey:
        return StageKey(self.kind, self.label, {"version": self.VERSION, **self.identity})


def epochs_made(folder: StageFolder) -> int:
    """Return after how many epochs an unfinished stage goes on: none without a checkpoint."""
    kept = folder.state == "unfinished" and any((folder.path / name).exists() for name in CHECKPOINTS)
    return len(folder.read_lines(HISTORY)) if kept else 0


def run_stage(stage: Stage, job: StageContext) -> StageResult:
    """Return the finished stage: from the store, by waiting for another process that is at it, or by doing the work.

    Every file of a finished stage is read and compared with its digest before it is used again (about a second per GB).
    What is damaged is set aside, with a warning, and the stage made afresh.
    """
    found = job.store.folder(stage.key)
    folder = SharedFolder(found.path, found.key)
    different = "The processes of this run have different images or options: type the same command everywhere."
    check_same(stage.key.digest, different)
    with ExitStack() as lock:
        if on_main_process(lambda: _to_be_made(folder, job, lock)):
            try:
                return _fill(stage, folder, job)
            except DamagedError as error:
                _quarantine(folder, str(error), job)
                return _fill(stage, folder, job)
    folder.cleanup()
    for record in folder.read_lines(HISTORY):
        job.log(stage.key.kind, record)
    return StageResult(folder, folder.result(), reused=True)


def _to_be_made(folder: StageFolder, job: StageContext, lock: ExitStack) -> bool:
    """Return whether there is work to do, and then hold the folder's lock; a damaged folder is set aside."""
    if folder.finished and not folder.integrity_error(contents=True):
        return False
    waiting = f"{folder.key.kind:<10} waiting for another process at {folder.path}"
    lock.enter_context(folder.lock(lambda: job.console.print(waiting)))
    if (wrong := folder.integrity_error(contents=True)) is not None:
        _quarantine(folder, wrong, job)
    return not folder.finished


def _quarantine(folder: StageFolder, wrong: str, job: StageContext) -> None:
    words = f"{folder.path} is damaged: {wrong}. It is kept as {folder.quarantine().name}, and the stage starts afresh"
    warn(job.console, folder.key.kind, words)


def _fill(stage: Stage, folder: StageFolder, job: StageContext) -> StageResult:
    """Do the work of a stage, or go on with it, and mark its folder finished."""
    kind = stage.key.kind
    with Progress(job.console, kind) as progress:
        stage_trainer = stage_trainer_for(folder, job, progress)
        device = device_name(stage_trainer.device)
        devices = device if (count := place().world_size) == 1 else f"{count} x {device}"
        folder.begin(redact_all(stage.config), provenance(devices, {"seed": job.seed}))
        if not folder.path.exists():
            raise UserError(
                f"A process of this run does not see {folder.path}, which the main one has made. The machines of a run "
                "must share the file system that logs lies on: set logs=FOLDER to one."
            )
        for record in folder.read_lines(HISTORY):
            job.log(kind, record)
        try:
            with kernels.enabled():  # on a CPU, all that a run computes is computed by the compiled loops
                result = stage.run(stage_trainer)
        except torch.OutOfMemoryError as error:
            raise ValueError(out_of_memory(kind, stage_trainer.device, error)) from error
    folder.finish(result)
    return StageResult(folder, result, reused=False)


def stage_trainer_for(folder: StageFolder, job: StageContext, progress: Progress) -> StageTrainer:
    """Return what runs the fits of a stage on this process's device."""
    stage_trainer = StageTrainer(folder, job.trainer, progress, lambda record: job.log(folder.key.kind, record))
    if stage_trainer.device.type == "cpu":
        keep_freed_memory()
    return stage_trainer


def device_name(device: torch.device) -> str:
    """Return what is said of a device, such as `cpu` or `cuda: NVIDIA H100`."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
