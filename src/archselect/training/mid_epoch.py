"""Checkpoints in the middle of an epoch, for epochs that take hours: a run that goes on from one loses minutes.

Lightning keeps the network, the optimizers and how many batches were made. What else an epoch goes on from is kept
here, of every process: the generators that the network's noise is drawn from, and what the metrics have counted. The
images need no state, for the batches are a function of the epoch (`data.loader`): those that were made are passed over.
"""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.utils._pytree import tree_map
from torchmetrics import Metric

from archselect.data.pixels import BrokenImageError
from archselect.distributed.process_group import (
    gathered,
    is_sharded,
    on_main_process,
    place,
    synchronises_batch_norm,
)
from archselect.distributed.rng import generator_states, restore_generators
from archselect.training.checkpoint import NEWEST

KEY = "within_epoch"

BATCHES_BETWEEN = 10
"""So many batches several processes make between two looks at the clock, at which they wait for each other."""


class MidEpochCheckpoint(Checkpoint):
    """Writes a checkpoint every so many minutes of an epoch, and lets a fit go on from one to the last bit."""

    def __init__(self, folder: Path, minutes: float | None) -> None:
        self.folder, self.minutes = folder, minutes
        self._seconds_before = 0.0  # what the earlier sessions of an epoch took
        self._loaded: dict[str, Any] | None = None
        self._is_within = False
        warnings.filterwarnings("ignore", ".*resuming from a checkpoint that ended before the epoch ended.*")

    @property
    def seconds(self) -> float:
        """What the epoch has taken so far, all its sessions together."""
        return self._seconds_before + time.monotonic() - self._begun

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on within an epoch: Lightning, which does not begin it again, tells nobody that it is in it."""
        self._begun = self._written = time.monotonic()
        if self._loaded is None or not trainer.fit_loop.restarted_mid_epoch:
            return
        batches: Any = trainer.train_dataloader
        batches.skip(trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        pl_module.on_train_epoch_start()
        self._restore(pl_module, self._loaded)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = self._written = time.monotonic()
        self._seconds_before = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint if it is time to; the last batch of an epoch is followed by that of the epoch."""
        done = batch_idx + 1
        is_alone = place().world_size == 1
        if (
            self.minutes is None
            or done == trainer.num_training_batches
            or not (is_alone or done % BATCHES_BETWEEN == 0)
        ):
            return
        minutes = (time.monotonic() - self._written) / 60
        if on_main_process(lambda: minutes >= (self.minutes or 0)):
            self._write(trainer)
            self._written = time.monotonic()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep what was made of an epoch before a broken image; of several processes the others are still at work."""
        if isinstance(exception, BrokenImageError) and trainer.training and place().world_size == 1:
            self._write(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._is_within:
            own = {"generators": generator_states(), "metrics": _counted(pl_module), "statistics": _own(pl_module)}
            checkpoint[KEY] = {"seconds": self.seconds, "processes": gathered(own)}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._loaded = checkpoint.get(KEY)

    def _write(self, trainer: pl.Trainer) -> None:
        self._is_within = True
        try:
            trainer.save_checkpoint(self.folder / NEWEST)
        finally:
            self._is_within = False

    def _restore(self, module: pl.LightningModule, state: dict[str, Any]) -> None:
        own = state["processes"][place().rank]
        self._seconds_before = state["seconds"]
        restore_generators(own["generators"])
        for name, metric in _metrics(module):
            for key, value in own["metrics"][name].items():
                setattr(metric, key, tree_map(lambda one: one.to(module.device), value))
            metric._update_count = 1  # not before the first batch: `compute` would warn
        for name, value in own["statistics"].items():
            module.get_buffer(name).copy_(value)


def _metrics(module: pl.LightningModule) -> Iterator[tuple[str, Metric]]:
    return ((name, part) for name, part in module.named_modules() if isinstance(part, Metric))


def _counted(module: pl.LightningModule) -> dict[str, Any]:
    """Return what every metric has counted since the epoch began, by its name."""
    return {name: tree_map(lambda value: value.cpu(), metric.metric_state) for name, metric in _metrics(module)}


def _own(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the buffers where each process has its own: the main one's stand for all in a checkpoint."""
    own_statistics = is_sharded() and not synchronises_batch_norm()
    return {name: buffer.cpu() for name, buffer in module.named_buffers()} if own_statistics else {}
