"""Depthwise convolution whose gradients are convolutions that CPUs are fast at.

The backward primitives of a depthwise convolution are fast for a 3x3 kernel without dilation only: for others the CPU
library pads each channel to a dense block of sixteen. What is done instead:

- The gradient in the input, at stride 1, is a forward convolution with the kernel turned by 180 degrees.
- The gradient in the weight is linear in the taps, so its columns can be computed three at a time. The taps at
  `-s, 0, s` pixels are the taps at `-1, 0, 1` of an image in which `s` neighbouring pixels count as one with `s` times
  as many channels: a view, no copy. Dilated rows are every other row of a taller kernel.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import channels_last, columns, rows


def depthwise_convolutions(xs: Sequence[Tensor], weight: Tensor, stride: int, dilation: int) -> list[Tensor]:
    """Convolve each channel with its own kernel, for E edges.

    Args:
        xs: One `(B, C, H, W)` in channels_last for all edges, or one for each.
        weight: `(E * C, 1, k, k)`, the kernels of the edges one after another.
        stride: The outputs are padded to `ceil(H / stride)`.
        dilation: Distance of the taps in pixels.

    Returns:
        `E` tensors `(B, C, H', W')`.
    """
    outputs: tuple[Tensor, ...] = _Depthwise.apply(weight, stride, dilation, *xs)
    return list(outputs)


class _Depthwise(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, stride: int, dilation: int, *xs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(weight, *(xs if ctx.needs_input_grad[0] else ()))
        ctx.shape, ctx.count, ctx.stride, ctx.dilation = xs[0].shape, len(xs), stride, dilation
        padding = _padding(weight, dilation)
        kernels = weight.split(xs[0].shape[1])
        return tuple(
            F.conv2d(xs[edge % len(xs)], kernel, None, stride, padding, dilation, groups=len(kernel))
            for edge, kernel in enumerate(kernels)
        )

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, *xs = ctx.saved_tensors
        kernels = weight.split(ctx.shape[1])
        in_weights = []
        in_xs: list[Tensor | None] = [None] * ctx.count
        for edge, (gradient, kernel) in enumerate(zip(gradients, kernels, strict=True)):
            gradient = channels_last(gradient)
            index = edge % ctx.count
            if ctx.needs_input_grad[3 + index]:
                in_x = input_gradient(gradient, kernel, ctx.shape, ctx.stride, ctx.dilation)
                in_xs[index] = in_x if in_xs[index] is None else in_xs[index].add_(in_x)
            if ctx.needs_input_grad[0]:
                in_weights.append(weight_gradient(gradient, xs[index], kernel, ctx.stride, ctx.dilation))
        return torch.cat(in_weights) if in_weights else None, None, None, *in_xs


def input_gradient(gradient: Tensor, weight: Tensor, size: torch.Size, stride: int, dilation: int) -> Tensor:
    """Return the gradient in the input of that size, given the one in the output `(B, C, H', W')`."""
    padding = _padding(weight, dilation)
    if stride == 1:
        return F.conv2d(gradient, weight.flip(2, 3), None, 1, padding, dilation, groups=len(weight))
    unread = torch.empty(size, dtype=gradient.dtype, memory_format=torch.channels_last)
    return _primitive(gradient, unread, weight, stride, padding, dilation, 0)


def weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Return the gradient `(C, 1, k, k)` in the weight."""
    kernel, width = weight.shape[-1], x.shape[-1]
    steps = [dilation * tap for tap in range(1, kernel // 2 + 1)]
    fast = kernel == 1 or (kernel == 3 and dilation == 1)
    if stride > 1 or fast or any(width % step for step in steps):
        return _primitive(gradient, x, weight, stride, _padding(weight, dilation), dilation, 1)
    taps = [weight] * kernel
    middle = kernel // 2
    for tap, step in enumerate(steps, start=1):
        three = _three_columns(gradient, x, kernel, dilation, step)
        taps[middle - tap], taps[middle + tap] = three[..., 0], three[..., 2]
        if tap == 1:
            taps[middle] = three[..., 1]
    return torch.stack(taps, dim=-1)


def _three_columns(gradient: Tensor, x: Tensor, kernel: int, dilation: int, step: int) -> Tensor:
    """Return the gradient `(C, 1, k, 3)` of the taps at `-step, 0, step` pixels along a row."""
    channels, height = x.shape[1:3]
    if dilation > 1 and dilation * (kernel - 1) >= height and height % dilation == 0:  # too tall for the image
        gradient, x, dilation = rows(gradient, dilation), rows(x, dilation), 1
    taller = dilation * (kernel - 1) + 1
    shape = x.new_empty(step * channels, 1, taller, 3)
    three = _primitive(columns(gradient, step), columns(x, step), shape, 1, (taller // 2, 1), 1, 1)
    return three.view(step, channels, 1, taller, 3).sum(0)[:, :, ::dilation]


def _primitive(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: int | tuple[int, int],
    dilation: int,
    wanted: int,
) -> Tensor:
    """Return what PyTorch's backward gives for the input (0) or the weight (1)."""
    paddings = [padding, padding] if isinstance(padding, int) else list(padding)
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, paddings, [dilation] * 2, False, [0, 0], len(weight),
        [wanted == 0, wanted == 1, False],
    )  # fmt: skip
    return gradients[wanted]


def _padding(weight: Tensor, dilation: int) -> int:
    return dilation * (weight.shape[-1] // 2)
