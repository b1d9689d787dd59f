"""Pointwise convolution of tensors that lie apart as if their channels were concatenated, which they never are."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import add_pointwise, channels_last, empty_like, pixels, product


def pointwise_convolution(xs: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Return `(B, D, H, W)` for tensors `(B, C, H, W)` in channels_last and a weight `(D, len(xs) * C, 1, 1)`."""
    out: Tensor = _Pointwise.apply(weight, *xs)
    return out


class _Pointwise(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, *xs: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *(xs if ctx.needs_input_grad[0] else ()))
        ctx.count = len(xs)
        out = empty_like(xs[0], len(weight))
        matrices = weight.flatten(1).chunk(len(xs), dim=1)
        torch.mm(pixels(xs[0]), matrices[0].t(), out=pixels(out))
        for x, matrix in zip(xs[1:], matrices[1:], strict=True):
            add_pointwise(out, x, matrix)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *xs = ctx.saved_tensors
        gradient = channels_last(gradient)
        in_weight = None
        if ctx.needs_input_grad[0]:
            in_weight = torch.cat([product(gradient, x) for x in xs], dim=1).view_as(weight)
        in_xs: list[Tensor | None] = []
        for need, matrix in zip(ctx.needs_input_grad[1:], weight.flatten(1).chunk(ctx.count, dim=1), strict=True):
            in_x = empty_like(gradient, matrix.shape[1]) if need else None
            if in_x is not None:
                torch.mm(pixels(gradient), matrix, out=pixels(in_x))
            in_xs.append(in_x)
        return in_weight, *in_xs
