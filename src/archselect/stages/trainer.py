"""What a user may tell the Lightning trainer: where and in which precision it computes."""

from functools import partial

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from archselect.stages.fitting import TrainerFactory

OPTIONS = ("accelerator", "devices", "precision", "deterministic", "benchmark", "detect_anomaly", "profiler")
"""The others would change results behind the store's back, or are the stages' own."""

PRECISIONS = ("32-true", "bf16-mixed")
"""Not float16: the search takes its gradients without the loss scale that it needs."""


def check_trainer(trainer: TrainerFactory) -> torch.device:
    """Return the device that the trainer computes on.

    Raises:
        ValueError: The trainer cannot be made on this machine or would not work on one device.
    """
    options = trainer.keywords if isinstance(trainer, partial) else {}
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(
            f"trainer.{unknown[0]} is not for a user to set. The options of the trainer are {', '.join(OPTIONS)}."
        )
    precision = options.get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    try:
        made = trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ValueError(
            f"The trainer cannot be made of {given}: {error} Choose trainer=cpu, or trainer=gpu on a machine with a "
            "GPU, and trainer.devices=1."
        ) from error
    if made.world_size != 1:
        raise ValueError(
            f"trainer.devices must be 1 device; got {options.get('devices')!r}. One run on several is not offered: "
            "spread the runs of a sweep over them instead."
        )
    return made.strategy.root_device
