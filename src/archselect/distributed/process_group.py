"""What the processes of a run do together, through torch.distributed.

Every function here is one that all processes call at once. There are three ways to compute:

- by itself, as a process does first of all: on whole batches (`whole_batches`), like the others;
- on its own part of every batch (`sharded_batches`), as the fits do: gradients are those of the whole batch;
- alone (`on_main_process`): the main process does what is to be done once, and the others wait for what came of it.
"""

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from archselect.distributed.launch import GRACE
from archselect.errors import RunError

T = TypeVar("T")

STEP_TIMEOUT = timedelta(minutes=5)
"""So long a process waits for the others within a step. Of one that ends all others hear at once; this is for a machine
that is cut off without a word."""

WAIT_TIMEOUT = timedelta(days=365)
"""So long a process waits for the main one, which may wait for another run's stage."""


class ProcessLostError(RunError):
    """Another process of this run has ended."""


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one of several processes takes: they differ by at most one image.

    Attributes:
        index: Of the process, from 0.
        count: How many processes there are.
    """

    index: int
    count: int

    def part(self, images: int) -> slice:
        """Return which of so many images these are."""
        return slice(self.index * images // self.count, (self.index + 1) * images // self.count)


WHOLE = Shard(0, 1)


@dataclass(frozen=True)
class _Mode:
    synchronised: bool = True
    """Whether batch normalisation takes the statistics of the whole batch where that is sharded."""
    sharded: bool = False
    alone: bool = False


_mode = _Mode()
_waiting: Any = None


class Strategy(DDPStrategy):
    """Lightning's DDP without its wrapper, which sums the gradients that `backward` leaves behind.

    Ours are taken by `torch.autograd.grad` and summed in `archselect.gradients`. The main process saves for all.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Save what all processes hold alike."""
        on_main_process(lambda: self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options))

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait until all are here."""
        barrier()


def join(strategy: Strategy, synchronised: bool) -> None:
    """Make this process one of those that were launched together; returns when all have joined.

    Args:
        strategy: Knows how, as a Lightning trainer made for the run's devices leaves it.
        synchronised: Whether batch normalisation takes the statistics of the whole batch, rather than those of each
            process's part.
    """
    global _mode, _waiting
    if not dist.is_initialized():
        strategy.setup_environment()
        _waiting = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)
    _mode = _Mode(synchronised)


def leave() -> None:
    """Be one process again."""
    global _mode, _waiting
    _mode, _waiting = _Mode(), None
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_distributed() -> bool:
    """Return whether this process works together with others here."""
    return world_size() > 1 and not _mode.alone


def is_sharded() -> bool:
    """Return whether this process has only a part of every batch here."""
    return is_distributed() and _mode.sharded


def synchronises_batch_norm() -> bool:
    """Return whether batch normalisation has to ask the others for their part of the batch here."""
    return is_sharded() and _mode.synchronised


def processes() -> Shard:
    """Return this process's place among those that work together here."""
    return Shard(rank(), world_size()) if is_distributed() else WHOLE


def shard() -> Shard:
    """Return the part of every batch that is this process's here."""
    return processes() if _mode.sharded else WHOLE


@contextmanager
def _changed(**changes: bool) -> Iterator[None]:
    global _mode
    before = _mode
    _mode = replace(_mode, **changes)
    try:
        yield
    finally:
        _mode = before


def sharded_batches() -> Any:
    """Compute on parts of batches, in the block of a `with`."""
    return _changed(sharded=True)


def whole_batches() -> Any:
    """Compute on whole batches, each process by itself, in the block of a `with`."""
    return _changed(sharded=False)


def on_main_process(function: Callable[[], T]) -> T:
    """Return what `function` returns in the main process, which alone calls it; an error of its own, all raise."""
    if not is_distributed():
        return function()
    if rank() > 0:
        (outcome,) = _broadcast([None])
        value, error = pickle.loads(outcome)
        if error is not None:
            raise _told(error)
        return cast(T, value)
    try:
        with _changed(alone=True, sharded=False):
            value = function()
    except Exception as error:
        _broadcast([pickle.dumps((None, _portable(error)))])
        raise
    _broadcast([pickle.dumps((value, None))])
    return value


def in_every_process(function: Callable[[], T]) -> T:
    """Return what `function` returns here, unless it raises an error anywhere: then all raise the first one's."""
    if not is_distributed():
        return function()
    error: Exception | None = None
    try:
        value = function()
    except Exception as raised:
        error = raised
    errors = _gather(None if error is None else pickle.dumps(_portable(error)))
    failed = [number for number, found in enumerate(errors) if found is not None]
    if not failed:
        return value
    if failed[0] == rank():
        assert error is not None
        raise error
    raise _told(pickle.loads(errors[failed[0]])) from error


def check_same(value: Any, message: str) -> None:
    """Raise a `RunError` in every process unless all of them have the same value."""
    if is_distributed() and len(set(values := _gather(value))) > 1:
        raise RunError(f"{message} The {len(values)} processes of this run have {', '.join(map(str, values))}.")


def barrier() -> None:
    """Wait until all are here, however long that takes."""
    on_main_process(lambda: None)


def all_reduce(tensor: Tensor) -> Tensor:
    """Return the sum over the processes."""
    if not is_distributed():
        return tensor
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(whole)
    return whole


def all_reduce_coalesced(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return the sums over the processes, all in one message; None, which is so in all of them, stays."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not is_distributed() or not given:
        return list(tensors)
    flat = torch.cat([tensor.detach().flatten() for tensor in given])
    dist.all_reduce(flat)
    parts = iter(flat.split([tensor.numel() for tensor in given]))
    return [None if tensor is None else next(parts).view(tensor.shape).to(tensor.dtype) for tensor in tensors]


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_reduce(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduce_autograd(gradient)


def all_reduce_autograd(tensor: Tensor) -> Tensor:
    """Return the sum over the processes, differentiable as often as one likes in what each of them gave.

    What a process gave is in the sum that all of them go on with, so its gradient is the sum of theirs.
    """
    return cast(Tensor, _AllReduce.apply(tensor))


@contextmanager
def losses_noticed() -> Iterator[None]:
    """Turn the error by which a process learns that another one is gone into a `ProcessLostError`.

    Raises:
        ProcessLostError: Another process has ended, which torchrun is given the time to find first.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        time.sleep(GRACE)
        raise ProcessLostError(
            "Another process of this run has ended, or its machine is gone; what it said itself tells why. What is "
            "finished is kept; the same command goes on from there."
        ) from error


def _broadcast(objects: list[Any]) -> list[Any]:
    dist.broadcast_object_list(objects, src=0, group=_waiting)
    return objects


def _gather(value: Any) -> list[Any]:
    values = [None] * world_size()
    dist.all_gather_object(values, value, group=_waiting)
    return values


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent: itself, or its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _told(error: Exception) -> Exception:
    """Mark an error as another process's, which shows it to the user."""
    error.shown_elsewhere = True  # type: ignore[attr-defined]
    return error
