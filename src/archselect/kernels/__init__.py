"""Operations of a supernet in the form that is fastest on a CPU: exact, with gradients of their own.

Loops in C (`native`) evaluate many edges of a cell in one call, each image while it is in the cache. What they share:
images are in `channels_last`; the normalisation of what a convolution gave is put off until the nodes are summed; what
a gradient does not need is not kept. None of them can be differentiated twice, and they say so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from archselect import ranks
from archselect.kernels.edges import (
    DENSE_KERNELS,
    SEPARABLE_KERNELS,
    Convolution,
    Convolutions,
    Identities,
    Operation,
    Pools,
    Values,
)
from archselect.kernels.leaving import Arrival, arrive, convolve, leave
from archselect.kernels.mixing import mix
from archselect.kernels.native import calls
from archselect.kernels.native.calls import Batch, Running

__all__ = [
    "DENSE_KERNELS",
    "SEPARABLE_KERNELS",
    "Arrival",
    "Batch",
    "Convolution",
    "Convolutions",
    "Identities",
    "Operation",
    "Pools",
    "Running",
    "Values",
    "arrive",
    "batch",
    "convolve",
    "leave",
    "left_out",
    "mix",
    "running",
    "serve",
]


def batch(norm: nn.BatchNorm2d) -> Batch:
    """Return how a normalisation treats a batch."""
    return Batch(norm.training, norm.momentum or 0.0, norm.eps)


def running(norm: nn.BatchNorm2d) -> Running:
    """Return the running statistics of a normalisation, and count the batch that will move them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return Running(norm.running_mean, norm.running_var)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor] | None:
    """Return scale and shift of a normalisation, if it has any."""
    return (norm.weight, norm.bias) if norm.affine else None


_wanted: ContextVar[bool] = ContextVar("wanted", default=True)


@contextmanager
def left_out() -> Iterator[None]:
    """Let PyTorch's operators do the work of these: they are slower, and can be differentiated twice."""
    before = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(before)


def serve(x: Tensor) -> bool:
    """Return whether these are for `x` `(B, C, H, W)`.

    They are not under autocast, which does not reach into them, nor while compiling, nor where they cannot be compiled,
    nor where a batch is spread over several processes: they take its statistics themselves.
    """
    if (
        not _wanted.get()
        or ranks.normalises_together()
        or x.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    ):
        return False
    return calls.serve(x)
