"""One Lightning fit inside a stage folder: it goes on from its checkpoint, writes its history, stops without loss."""

import ctypes
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint

from archselect.distributed.process_group import assert_in_sync, average_statistics, on_main_process, sharded_batches
from archselect.store import StageFolder
from archselect.training.checkpoint import NEWEST, AtomicCheckpointIO, newest_valid
from archselect.training.devices import TrainerFactory, checkpoint_minutes, for_this_process
from archselect.training.mid_epoch import MidEpochCheckpoint
from archselect.training.progress import Progress, ProgressCallback


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GB that it frees; return whether the C library (glibc) knows how."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: 0)
    mmap_threshold, trim_threshold = -3, -1  # mallopt(3)
    # Blocks of up to 32 MB, its largest value, come from the heap, and the heap's free end stays.
    return bool(mallopt(mmap_threshold, 32 * 2**20) and mallopt(trim_threshold, 2**31 - 1))


def peak_resident() -> int:
    """Return the most memory that this process has held, in bytes.

    Linux hands `ru_maxrss` on to the programs that a process starts: of one that a large process started, it tells the
    size of that one. So it is asked for where there is nothing better.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text("ascii"), re.MULTILINE)):
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class SignalsLeftAlone(Callback):
    """Undoes Lightning's handling of SIGTERM, which would end a fit between two steps and take it for finished."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)  # before Lightning's, which it puts in front as a fit begins

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    on_test_start = on_train_start


HISTORY = "history.jsonl"

LEARNING_RATES = {
    "search": "search.weight_optimizer.lr",
    "selection": "selection.tuning.learning_rate",
    "evaluation": "evaluation.optimizer.lr",
}
"""The option that a stage's learning rate is set by."""

MEMORY = {
    "search": "search.recompute=true lowers it, takes a third more time and goes on from the last epoch; so do, as "
    "other searches, search.batch_size, search_space.channels and search=pc_darts",
    "selection": "search.recompute=true lowers it where the selection tunes, selection.scoring.batch_size where it "
    "scores",
    "evaluation": "evaluation.batch_size and evaluation.network.channels lower it",
    "analysis": "analysis.scoring.batch_size and the run's search.batch_size lower it",
}
"""What lowers the memory that a stage takes."""

Record = dict[str, Any]


class Loaders(NamedTuple):
    """What a fit reads."""

    train: Any  # training batches, with `set_epoch`
    val: Any | None  # validation batches, if there are any
    images: int  # training images per epoch


LoadersOn = Callable[[torch.device], Loaders]


@dataclass(frozen=True)
class StageTrainer:
    """Runs fits for one stage, whose checkpoint and history lie in its folder.

    `on_record` is called with every record of the history as it is made.
    """

    folder: StageFolder
    trainer: TrainerFactory
    progress: Progress
    on_record: Callable[[Record], None]

    @property
    def device(self) -> torch.device:
        """The device that a fit runs on."""
        return self._make().strategy.root_device

    def fit(
        self,
        module: pl.LightningModule,
        loaders: LoadersOn,
        epochs: int,
        callbacks: Iterable[Callback] = (),
        describe: Callable[[], Mapping[str, Any]] = dict,
    ) -> list[Record]:
        """Train `module` up to `epochs`, from the newest sound checkpoint if any, and return the whole history.

        The callbacks run before the record of an epoch, which holds what `describe` returns besides the metrics, and
        its checkpoint are written. A ValueError says that a loss or a parameter is not finite.
        """
        checkpoint, wrong = on_main_process(lambda: newest_valid(self.folder.path))
        if wrong:
            then = f"going on from {checkpoint.name}" if checkpoint else "starting afresh"
            self.progress.warn(f"in {self.folder.path}, {' and '.join(wrong)}; {then}")
        within = MidEpochCheckpoint(self.folder.path, checkpoint_minutes(self.trainer))
        writer = EpochWriter(self, describe, within)
        callbacks = [*callbacks, ProgressCallback(self.progress), within, writer]
        trainer = self._make(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
        train, val, writer.images = loaders(trainer.strategy.root_device)
        path = str(checkpoint) if checkpoint else None
        with sharded_batches():
            trainer.fit(module, train, val, ckpt_path=path, weights_only=True)
        return self.folder.read_lines(HISTORY)

    def train(
        self, module: pl.LightningModule, loaders: LoadersOn, epochs: int, callbacks: Iterable[Callback] = ()
    ) -> None:
        """Train `module` for `epochs` without validation, history or checkpoint: a small part of a stage's work."""
        trainer = self._make(max_epochs=epochs, limit_val_batches=0, callbacks=callbacks)
        train, val, _ = loaders(trainer.strategy.root_device)
        with sharded_batches():
            trainer.fit(module, train, val)
            average_statistics(module)

    def test(self, module: pl.LightningModule, batches: Callable[[torch.device], Any]) -> dict[str, float]:
        """Return the metrics of `module` on test batches."""
        trainer = self._make()
        with sharded_batches():
            (metrics,) = trainer.test(module, batches(trainer.strategy.root_device), verbose=False)
        return {name: float(value) for name, value in metrics.items()}

    def _make(self, **options: Any) -> pl.Trainer:
        ours = {
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            "inference_mode": False,  # what it makes cannot be used in training, and some of it is remembered
            "plugins": [AtomicCheckpointIO()],
        }
        callbacks = [SignalsLeftAlone(), *options.pop("callbacks", ())]
        return for_this_process(self.trainer, **ours | options, callbacks=callbacks)


class EpochWriter(Checkpoint):
    """Writes the epoch's record to the history, then the checkpoint, after everything else at the end of an epoch.

    A kill between the two leaves a record without its checkpoint; the epoch is then made, and recorded, again.
    """

    images = 0  # of an epoch

    def __init__(
        self, stage_trainer: StageTrainer, describe: Callable[[], Mapping[str, Any]], within: MidEpochCheckpoint
    ) -> None:
        self.folder, self.on_record, self.describe = stage_trainer.folder, stage_trainer.on_record, describe
        self.within = within

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the count of the peak memory, which is what is allocated on a GPU."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget records of epochs that are made again."""
        self.folder.keep_lines(HISTORY, lambda record: record["epoch"] < trainer.current_epoch)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let several processes score with the same running statistics."""
        average_statistics(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write record and checkpoint; several processes compare first what they hold."""
        average_statistics(pl_module)
        assert_in_sync(pl_module, f"after epoch {trainer.current_epoch + 1}")
        seconds = self.within.seconds
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._check_finite(pl_module, metrics, trainer.current_epoch)
        on_gpu = pl_module.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(pl_module.device) if on_gpu else peak_resident()
        metrics |= {"peak_memory_gb": peak / 1e9, "images_per_second": self.images / seconds}
        record = {"epoch": trainer.current_epoch, "seconds": seconds, "metrics": metrics, **self.describe()}
        self.folder.append_line(HISTORY, record)
        trainer.save_checkpoint(self.folder.path / NEWEST)
        on_main_process(lambda: self.on_record(record))

    def _check_finite(self, module: pl.LightningModule, metrics: Mapping[str, float], epoch: int) -> None:
        """Raise if a loss or a parameter is not finite: the loss of this epoch need not show the latter."""
        losses = ((name, torch.tensor(value)) for name, value in metrics.items() if name.endswith("_loss"))
        for name, value in (*losses, *module.named_parameters()):
            if (finite := value.isfinite()).all():
                continue
            kind, wrong, where = self.folder.key.kind, float(value.detach()[~finite][0]), self.folder.path
            kept = f"The state after epoch {epoch} is kept in {where}." if epoch else "It was the first epoch."
            of_alpha = ".alphas." in name or ".betas." in name
            lower = "search.architecture_optimizer.lr" if of_alpha else f"{LEARNING_RATES[kind]} or the gradient clip"
            raise ValueError(
                f"The {kind} diverged: {name} became {wrong} in epoch {epoch + 1}. {kept} Lower {lower}; that makes "
                "another stage, which starts afresh."
            )


def out_of_memory(kind: str, device: torch.device, error: BaseException) -> str:
    """Return what to say when the memory of a GPU is full."""
    first = str(error).split(". ")[0]
    return f"The {kind} needs more memory than {device} has ({first}): {MEMORY[kind]}."
