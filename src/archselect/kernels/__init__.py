"""Operations of a supernet in the form that is fastest on a CPU: exact, with gradients of their own.

Loops in C (`native`) evaluate many edges of a cell in one call, each image while it is in the cache. What they share:
images are in `channels_last`; the normalisation of what a convolution gave is put off until the nodes are summed; what
a gradient does not need is not kept. None of them can be differentiated twice, and they say so.
"""

import torch
from torch import Tensor, nn

from archselect.kernels.leaving import (
    Arrival,
    Convolution,
    Convolutions,
    Identities,
    Operation,
    Pools,
    Values,
    arrive,
    leave,
)
from archselect.kernels.mixing import mix
from archselect.kernels.native import calls
from archselect.kernels.native.calls import Batch, Running

__all__ = [
    "batch",
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
    "leave",
    "mix",
    "serve",
]


def batch(norm: nn.BatchNorm2d) -> Batch:
    """Return how a normalisation treats a batch."""
    return Batch(norm.training, norm.momentum or 0.0, norm.eps)


def serve(x: Tensor) -> bool:
    """Return whether these are for `x` `(B, C, H, W)`.

    They are not under autocast, which does not reach into them, nor while compiling, nor where they cannot be compiled.
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return calls.serve(x)
