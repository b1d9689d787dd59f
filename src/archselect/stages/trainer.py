"""What a user may tell the Lightning trainer: where and in which precision it computes."""

import os

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from archselect.checks import check_choice, check_flag
from archselect.stages.devices import devices_of, options_of
from archselect.stages.fitting import TrainerFactory

OPTIONS = (
    "accelerator",
    "devices",
    "strategy",
    "sync_batchnorm",
    "precision",
    "deterministic",
    "benchmark",
    "detect_anomaly",
    "profiler",
)
"""The others would change results behind the store's back, or are the stages' own."""

PRECISIONS = ("32-true", "bf16-mixed")
"""Not float16: the search takes its gradients without the loss scale that it needs."""


STRATEGIES = ("auto", "ddp")
"""On several devices both are the same: a process for each, and every batch spread over them."""


def check_trainer(trainer: TrainerFactory) -> torch.device:
    """Return the device that the trainer computes on, the first of several.

    Raises:
        ValueError: The trainer cannot be made on this machine, or its processes cannot be started.
    """
    options = options_of(trainer)
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(
            f"trainer.{unknown[0]} is not for a user to set. The options of the trainer are {', '.join(OPTIONS)}."
        )
    precision = options.get("precision", PRECISIONS[0])
    if precision not in PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    check_choice("trainer.strategy", options.get("strategy", "auto"), STRATEGIES)
    check_flag("trainer.sync_batchnorm", options.get("sync_batchnorm", True))
    try:
        devices = devices_of(trainer)
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ValueError(
            f"The trainer cannot be made of {given}: {error} Choose trainer=cpu, or trainer=gpu on a machine with a "
            "GPU, and trainer.devices=1."
        ) from error
    if len(devices) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ValueError(
            f"trainer.devices={options.get('devices')} starts a process for each device itself. Start train.py by "
            "python, not by torchrun."
        )
    return devices[0]
