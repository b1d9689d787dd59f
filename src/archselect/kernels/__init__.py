"""Operations of a supernet in the form that is fastest on a CPU: exact, with gradients of their own.

What they share: images are `channels_last`, so that an image is a matrix of pixels by channels and its columns groups
of neighbouring pixels; sums are accumulated in place; what a gradient does not need is not kept. None of them can be
differentiated twice, and they say so.
"""

import torch
from torch import Tensor

from archselect.kernels.depthwise import depthwise_convolutions
from archselect.kernels.leaving import Convolution, leave
from archselect.kernels.pointwise import pointwise_convolution
from archselect.kernels.pooling import average_pool, max_pool
from archselect.kernels.projection import Moments, moments, project
from archselect.kernels.spread import spread
from archselect.kernels.subsample import every_second

__all__ = [
    "Convolution",
    "Moments",
    "average_pool",
    "depthwise_convolutions",
    "every_second",
    "leave",
    "max_pool",
    "moments",
    "pointwise_convolution",
    "project",
    "serve",
    "spread",
]


def serve(x: Tensor) -> bool:
    """Return whether these are for `x`: not under autocast, which does not reach into them, nor while compiling."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
