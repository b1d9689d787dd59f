"""A function in two processes of one run, which PyTorch starts as torchrun does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from archselect.distributed import process_group
from archselect.distributed.launch import start_processes
from archselect.training.devices import TrainerFactory, join


def trainer(synchronised: bool = True) -> TrainerFactory:
    """What a user's `trainer.devices=2` makes; a process that is by itself has one of the two."""
    return partial(pl.Trainer, accelerator="cpu", devices=2, sync_batchnorm=synchronised)


def in_two(function: Callable[[], Any], folder: Path, synchronised: bool = True) -> list[Any]:
    """Return what a function of a module returns in each of two processes; files of theirs go to the folder."""
    start_processes(_in_process, (function, folder, synchronised), 2, folder)
    return [torch.load(_result(folder, rank), weights_only=False) for rank in range(2)]


def _in_process(function: Callable[[], Any], folder: Path, synchronised: bool) -> None:
    torch.set_num_threads(1)
    join(trainer(synchronised))
    torch.save(function(), _result(folder, process_group.place().rank))


def _result(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.pt"
