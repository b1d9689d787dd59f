"""What a user may tell the Lightning trainer (where and in which precision it computes), and this process's trainer."""

import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from archselect.distributed.launch import launched
from archselect.distributed.process_group import STEP_TIMEOUT, UnwrappedDDPStrategy, init_process_group
from archselect.utils.validation import FLAG, POSITIVE_FLOAT, one_of


def silence_lightning_warnings() -> None:
    """Leave out what Lightning says of devices, products, fits without validation, and its use of torch's pytree.

    And of means over several processes: those that are reported are over all of them. And where Slurm is, of srun: a
    run that was started without it starts its processes itself.
    """
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    said = (".*LeafSpec.*", ".*sync_dist=True.*", "The `srun` command is available", ".*have no `val_dataloader`.*")
    for message in said:
        warnings.filterwarnings("ignore", message=message)


TrainerFactory = Callable[..., pl.Trainer]

# The others would change results behind the store's back, or are the stages' own.
OPTIONS: tuple[str, ...] = ("accelerator", "devices", "sync_batchnorm", "precision")
OPTIONS += ("deterministic", "benchmark", "detect_anomaly", "profiler", "checkpoint_minutes")

# Not float16: the search takes its gradients without the loss scale that it needs.
PRECISIONS = ("32-true", "bf16-mixed")


def check_trainer(trainer: TrainerFactory) -> torch.device:
    """Return the device that the trainer of this process computes on; a ValueError says why it cannot be made here."""
    options = _options(trainer)
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise ValueError(
            f"trainer.{unknown[0]} is not for a user to set. The options of the trainer are {', '.join(OPTIONS)}."
        )
    one_of(PRECISIONS).check("trainer.precision", options.get("precision", PRECISIONS[0]))
    FLAG.check("trainer.sync_batchnorm", options.get("sync_batchnorm", True))
    if (minutes := checkpoint_minutes(trainer)) is not None:
        POSITIVE_FLOAT.check("trainer.checkpoint_minutes", minutes)
    try:
        _make(trainer, devices=options.get("devices", 1))  # all of them, before a process is started for each
        return for_this_process(trainer).strategy.root_device
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ValueError(
            f"The trainer cannot be made of {given}: {error} Choose trainer=cpu, or trainer=gpu on a machine with a "
            "GPU, and trainer.devices=1."
        ) from error


def process_count(trainer: TrainerFactory) -> int:
    """Return how many processes the run has: those that were launched together, or one for each of `devices`."""
    place, devices = launched(), _options(trainer).get("devices", 1)
    if place is not None:
        return place.world_size
    if isinstance(devices, list):
        return len(devices)
    return devices if isinstance(devices, int) and devices > 0 else _make(trainer, devices=devices).num_devices


def checkpoint_minutes(trainer: TrainerFactory) -> float | None:
    """Return after how many minutes of an epoch a checkpoint is written; None: only after the epoch."""
    return _options(trainer).get("checkpoint_minutes")


def parts_of_batch(trainer: TrainerFactory) -> int:
    """Return into how many parts a batch is cut that are normalised each by itself."""
    return 1 if _synchronises(trainer) else process_count(trainer)


def join(trainer: TrainerFactory) -> None:
    """Make this process one of those that were launched together, if any were."""
    if launched() is not None:
        strategy = for_this_process(trainer).strategy
        assert isinstance(strategy, UnwrappedDDPStrategy)
        init_process_group(strategy, _synchronises(trainer))


def for_this_process(trainer: TrainerFactory, **options: Any) -> pl.Trainer:
    """Return a trainer on this process's device: of those launched together, each has one of `devices`.

    A ValueError says that there are not as many devices as processes.
    """
    place, devices = launched(), _options(trainer).get("devices", 1)
    if place is None:
        return _make(trainer, devices=devices[:1] if isinstance(devices, list) else 1, **options)
    if isinstance(devices, int) and devices not in (-1, 1, place.local_world_size):
        raise ValueError(f"torchrun or srun started {place.local_world_size} processes on this machine.")
    # torchrun and submitit describe the processes in torch.distributed's own variables.
    elastic = "LOCAL_WORLD_SIZE" in os.environ
    environment = TorchElasticEnvironment() if elastic else SLURMEnvironment(auto_requeue=False)
    options["strategy"] = UnwrappedDDPStrategy(cluster_environment=environment, timeout=STEP_TIMEOUT)
    options["num_nodes"] = place.world_size // place.local_world_size
    return _make(trainer, devices=devices if isinstance(devices, list) else place.local_world_size, **options)


def _options(trainer: TrainerFactory) -> dict[str, Any]:
    return dict(trainer.keywords) if isinstance(trainer, partial) else {}


def _synchronises(trainer: TrainerFactory) -> bool:
    """Return whether several devices normalise a batch by the statistics of all of it."""
    return bool(_options(trainer).get("sync_batchnorm", True))


def _make(trainer: TrainerFactory, **options: Any) -> pl.Trainer:
    """Return a trainer that shows and keeps nothing, and starts no processes."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    lightning = trainer.func if isinstance(trainer, partial) else trainer
    if "strategy" not in options:
        options["plugins"] = [*options.get("plugins", ()), LightningEnvironment()]
    given = {name: value for name, value in _options(trainer).items() if name != "checkpoint_minutes"}
    return lightning(**given | quiet | options | {"sync_batchnorm": False})
