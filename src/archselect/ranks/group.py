"""Which of the processes of a run this is, and what they tell each other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes takes: they differ by at most one image.

    Attributes:
        rank: Of the process, from 0.
        of: How many processes there are.
    """

    rank: int
    of: int

    def part(self, images: int) -> slice:
        """Return which of so many images these are."""
        return slice(self.rank * images // self.of, (self.rank + 1) * images // self.of)


WHOLE = Share(0, 1)


@dataclass(frozen=True)
class _Place:
    rank: int = 0
    count: int = 1
    together: bool = False
    """Whether batch normalisation takes the statistics of the whole batch."""


_place = _Place()


def meeting(processes: int, port: int | None = None) -> Any:
    """Return where the processes meet: at the first one's `port`, or for the first itself at a new one, its `port`."""
    make = dist.TCPStore  # type: ignore[attr-defined]
    return make("127.0.0.1", port or 0, processes, is_master=port is None, wait_for_workers=False)


def join(store: Any, own: Share, device: torch.device, synchronised: bool) -> None:
    """Make this process one of several; returns when all have joined.

    Args:
        store: Where they meet, see `meeting`.
        own: Which of them it is.
        device: Where it computes.
        synchronised: Whether batch normalisation takes the statistics of the whole batch, rather than those of each
            process's part.
    """
    global _place
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=own.rank, world_size=own.of)
    _place = _Place(own.rank, own.of, synchronised)


def leave() -> None:
    """Be one process again."""
    global _place
    _place = _Place()
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return which process this is, from 0."""
    return _place.rank


def count() -> int:
    """Return how many processes there are."""
    return _place.count


def several() -> bool:
    """Return whether there is more than this one."""
    return _place.count > 1


def first() -> bool:
    """Return whether this is the process that writes."""
    return _place.rank == 0


def share() -> Share:
    """Return the part of every batch that is this process's."""
    return Share(_place.rank, _place.count)


def normalises_together() -> bool:
    """Return whether batch normalisation has to ask the others for their part of the batch."""
    return _place.together


@contextmanager
def apart() -> Iterator[None]:
    """Normalise batches that are whole in each process: the others are not asked."""
    global _place
    before = _place.together
    try:
        _place = replace(_place, together=False)
        yield
    finally:
        _place = replace(_place, together=before)


def barrier() -> None:
    """Wait until all are here."""
    if several():
        dist.all_reduce(torch.zeros(1))


def from_first(value: Callable[[], T]) -> T:
    """Return what `value()` is in the first process; the others do not call it."""
    if not several():
        return value()
    box = [value() if first() else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]  # the first one's


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return total(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return added(gradient)


def added(tensor: Tensor) -> Tensor:
    """Return the sum over the processes, differentiable as often as one likes in what each of them gave.

    What a process gave is in the sum that all of them go on with, so its gradient is the sum of theirs.
    """
    return cast(Tensor, _Added.apply(tensor))


def total(tensor: Tensor) -> Tensor:
    """Return the sum over the processes."""
    if not several():
        return tensor
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(whole)
    return whole


def summed(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return the sums over the processes, all in one message; None, which is so in all of them, stays."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not several() or not given:
        return list(tensors)
    flat = torch.cat([tensor.detach().flatten() for tensor in given])
    dist.all_reduce(flat)
    parts = iter(flat.split([tensor.numel() for tensor in given]))
    return [None if tensor is None else next(parts).view(tensor.shape).to(tensor.dtype) for tensor in tensors]
