"""What the processes of a run do together, through torch.distributed.

All processes call these functions at once. There are three ways to compute:

- by itself, as a process does first of all: on whole batches (`whole_batches`), the same as the others;
- on its own part of every batch (`sharded_batches`), as the fits do: losses and gradients are those of the whole batch;
- alone (`on_main_process`): the main process does what is to be done once, and the others wait for what came of it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from archselect.utils.errors import UserError

T = TypeVar("T")

# So long a process waits for the others within a step. Of one that ends all others hear at once; this is for a machine
# that is cut off without a word.
STEP_TIMEOUT = timedelta(minutes=5)
WAIT_TIMEOUT = timedelta(days=365)  # for the main one, which may wait for another run's stage


class Shard(NamedTuple):
    """The part of every batch that one of several processes takes: they differ by at most one image."""

    rank: int
    world_size: int

    def part(self, images: int) -> slice:
        return slice(self.rank * images // self.world_size, (self.rank + 1) * images // self.world_size)


WHOLE = Shard(0, 1)


@dataclass(frozen=True)
class _Mode:
    together: bool = False
    sharded: bool = False
    synchronised: bool = True


_mode = _Mode()
_waiting: Any = None


class UnwrappedDDPStrategy(DDPStrategy):
    """Lightning's DDP without its wrapper, which sums the gradients that `backward` leaves behind.

    Ours are taken by `torch.autograd.grad`, and summed in `archselect.training.step`.
    """

    def configure_ddp(self) -> None:
        pass

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        on_main_process(lambda: self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options))

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        on_main_process(lambda: None)


def init_process_group(strategy: UnwrappedDDPStrategy, synchronised: bool) -> None:
    """Make this process one of those that were launched together; returns when all have joined.

    `strategy` is that of a trainer on this process's device. If `synchronised`, batch normalisation takes the
    statistics of the whole batch, rather than those of each process's part.
    """
    global _mode, _waiting
    if not dist.is_initialized():
        _rendezvous_after_restart(strategy.root_device)
        strategy.setup_environment()
        _waiting = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)
    _mode = _Mode(together=dist.get_world_size() > 1, synchronised=synchronised)


def _rendezvous_after_restart(device: torch.device) -> None:
    """Make the process group where torchrun has started the processes of this machine again.

    Its store still has the addresses of those that are gone. On several machines, whose agents count their restarts
    each for itself, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives every start a store of its own.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt != "0" and os.environ["GROUP_WORLD_SIZE"] == "1":
        store, rank, world_size = next(rendezvous("env://", timeout=STEP_TIMEOUT))
        store, backend = PrefixStore(attempt, store), dist.get_default_backend_for_device(device)
        dist.init_process_group(backend, timeout=STEP_TIMEOUT, store=store, rank=rank, world_size=world_size)


def place() -> Shard:
    """Return this process's place among those that work together here."""
    return Shard(dist.get_rank(), dist.get_world_size()) if _mode.together else WHOLE


def shard() -> Shard:
    """Return the part of every batch that is this process's here."""
    return place() if _mode.sharded else WHOLE


def is_sharded() -> bool:
    """Return whether this process has only a part of every batch here."""
    return _mode.together and _mode.sharded


def synchronises_batch_norm() -> bool:
    """Return whether batch normalisation has to ask the others for their part of the batch here."""
    return is_sharded() and _mode.synchronised


@contextmanager
def _changed(**changes: bool) -> Iterator[None]:
    global _mode
    before, _mode = _mode, replace(_mode, **changes)
    try:
        yield
    finally:
        _mode = before


# What computes on parts of batches, or on whole ones, in the block of a `with`.
sharded_batches, whole_batches = partial(_changed, sharded=True), partial(_changed, sharded=False)


def on_main_process(function: Callable[[], T]) -> T:
    """Return what `function` returns in the main process, which alone calls it; its error ends them all."""
    if not _mode.together:
        return function()
    outcome: list[Any] = [None]
    if dist.get_rank() == 0:
        with _changed(together=False):
            outcome = [function()]
    dist.broadcast_object_list(outcome, group=_waiting)
    return outcome[0]


def gathered(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    if not _mode.together:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_waiting)
    return values


def check_same(value: Any, message: str) -> None:
    """Raise a `UserError`, in all processes, unless all have the same value."""
    if len(set(values := gathered(value))) > 1:
        raise UserError(f"{message} They have {', '.join(map(str, values))}.")


def all_reduce(tensor: Tensor) -> Tensor:
    """Return the sum over the processes, differentiable as often as one likes in what each of them gave.

    What a process gave is in the sum that all of them go on with, so its gradient is the sum of theirs.
    """
    return _AllReduce.apply(tensor) if _mode.together else tensor


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        whole = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce(gradient)


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Where every process has gathered running statistics of its own, let all have their mean."""
    if not is_sharded() or synchronises_batch_norm():
        return
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            for value in (norm.running_mean, norm.running_var):
                value.copy_(all_reduce(value) / place().world_size)


def assert_in_sync(module: nn.Module, moment: str) -> None:
    """Raise a `UserError` unless a checksum of the bits of every parameter and buffer is the same in all processes.

    Going on would train several supernets instead of one.
    """
    tensors = [(name, value) for name, value in [*module.named_parameters(), *module.named_buffers()] if value.numel()]
    if place().world_size == 1 or not tensors:
        return
    sums = gathered(torch.stack([_checksum(value) for _, value in tensors]).tolist())
    different = [name for (name, _), *values in zip(tensors, *sums, strict=True) if len(set(values)) > 1]
    if different:
        raise UserError(
            f"The {len(sums)} processes of this run hold different numbers {moment}, first in {different[0]} "
            f"({len(different)} of {len(tensors)} tensors differ). The checkpoint before this is kept. Devices of "
            "different kinds round differently: use equal ones, or trainer.devices=1."
        )


def _checksum(value: Tensor) -> Tensor:
    bits = value.detach().contiguous()
    if bits.is_floating_point():
        bits = bits.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[bits.element_size()])
    return bits.sum(dtype=torch.int64)
