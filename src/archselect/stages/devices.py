"""Which devices a run computes on: each process of it trains on one of them, with a Lightning trainer of its own.

Lightning's own DDP adds up gradients as `backward` finds them. Ours are taken by `torch.autograd.grad`, and a supernet
that several processes hold is more than its gradients (decisions, scores, random draws), so `ranks` does all of it in
plain sight, and the trainer of each process knows one device.
"""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import ParallelStrategy

from archselect import ranks
from archselect.stages.fitting import TrainerFactory


def devices_of(trainer: TrainerFactory) -> list[torch.device]:
    """Return the devices that the options of a trainer name, on this machine."""
    made = trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()],
    )
    strategy = made.strategy
    several = strategy.parallel_devices if isinstance(strategy, ParallelStrategy) else None
    return list(several or [strategy.root_device])


def count_of(trainer: TrainerFactory) -> int:
    """Return how many devices the options of a trainer name."""
    devices = options_of(trainer).get("devices", 1)
    if isinstance(devices, int) and devices > 0:
        return devices
    return len(devices) if isinstance(devices, list) else len(devices_of(trainer))


def synchronised(trainer: TrainerFactory) -> bool:
    """Return whether several devices normalise a batch by the statistics of all of it."""
    return bool(options_of(trainer).get("sync_batchnorm", True))


def parts_of_batch(trainer: TrainerFactory) -> int:
    """Return into how many parts a batch is cut that are normalised each by itself."""
    return 1 if synchronised(trainer) else count_of(trainer)


def options_of(trainer: TrainerFactory) -> dict[str, Any]:
    """Return the options that a trainer was configured with."""
    return dict(trainer.keywords) if isinstance(trainer, partial) else {}


def for_this_process(trainer: TrainerFactory) -> TrainerFactory:
    """Return what makes trainers on the one device that is this process's; a process that works alone has the first."""
    alone: dict[str, Any] = {"strategy": "auto", "sync_batchnorm": False}
    if count_of(trainer) > 1:
        device = devices_of(trainer)[ranks.rank()]
        alone["devices"] = [device.index] if device.type == "cuda" else 1

    def make(**options: Any) -> pl.Trainer:
        return trainer(**alone | options)

    return make
