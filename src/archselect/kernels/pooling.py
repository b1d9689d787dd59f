"""Pooling by what CPUs are faster at than the pooling primitives.

Average pooling is a depthwise convolution. A maximum over 3x3 pixels is one over three rows and one over three columns.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import channels_last


def max_pool(x: Tensor) -> Tensor:
    """3x3 max pooling of `(B, C, H, W)` at stride 1 with padding 1."""
    if x.requires_grad and torch.is_grad_enabled():
        return F.max_pool2d(x, 3, 1, 1)  # its backward needs the positions of the maxima
    return _running_maximum(_running_maximum(x.permute(0, 2, 3, 1), 1), 2).permute(0, 3, 1, 2)


def _running_maximum(x: Tensor, dim: int) -> Tensor:
    """Return, contiguous, the maximum of each entry along `dim` and its two neighbours."""
    last = x.shape[dim] - 1
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    torch.maximum(x.narrow(dim, 0, last), x.narrow(dim, 1, last), out=out.narrow(dim, 0, last))
    out.select(dim, last).copy_(x.select(dim, last))
    later = out.narrow(dim, 1, last)
    torch.maximum(later, x.narrow(dim, 0, last), out=later)
    return out


def average_pool(x: Tensor) -> Tensor:
    """3x3 average pooling of `(B, C, H, W)` at stride 1 with padding 1; the average excludes the padding."""
    out: Tensor = _AveragePool.apply(x)
    return out


class _AveragePool(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _grow_borders(_ninth(x))

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _ninth(_grow_borders(gradient.clone(memory_format=torch.channels_last)))


def _ninth(x: Tensor) -> Tensor:
    """Return a ninth of the sum over each 3x3 window, the padding counted as zeros."""
    channels = x.shape[1]
    return F.conv2d(channels_last(x), x.new_full((channels, 1, 3, 3), 1 / 9), padding=1, groups=channels)


def _grow_borders(x: Tensor) -> Tensor:
    """Multiply, in place, by 9 over the number of pixels in the window that are not padding."""
    for dim in (2, 3):
        size = x.shape[dim]
        if size == 1:
            x.mul_(3)
        else:
            for border in (0, size - 1):
                x.select(dim, border).mul_(1.5)
    return x
