"""What operations without weights of their own give, spread over the edges that leave their source."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import channels_last, pixels


def spread(
    features: Sequence[Tensor],
    weights: Sequence[Tensor],
    receivers: Sequence[Sequence[int]],
    totals: Sequence[Tensor | None],
) -> list[Tensor]:
    """Return `totals` with `weights[k][i] * features[k]` added to receiver `receivers[k][i]`, for all k and i.

    Args:
        features: Each `(B, C, H, W)` in channels_last.
        weights: Per feature `(E_k,)`, the mixture weights of its edges.
        receivers: Per feature, which of the totals its edges lead to; every total receives something.
        totals: Each `(B, C, H, W)`, changed in place, or None for zero.
    """
    outputs: tuple[Tensor, ...] = _Spread.apply(receivers, len(features), *features, *weights, *totals)
    return list(outputs)


class _Spread(Function):
    @staticmethod
    def forward(
        ctx: Any, receivers: Sequence[Sequence[int]], count: int, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        features = cast(tuple[Tensor, ...], tensors[:count])
        weights = cast(tuple[Tensor, ...], tensors[count : 2 * count])
        totals = list(tensors[2 * count :])
        ctx.receivers, ctx.count = receivers, count
        ctx.numbers = [weight.tolist() for weight in weights]
        ctx.save_for_backward(*(features if any(ctx.needs_input_grad[2 + count : 2 + 2 * count]) else ()))
        ctx.mark_dirty(*(total for total in totals if total is not None))
        for feature, numbers, edges in zip(features, ctx.numbers, receivers, strict=True):
            for number, edge in zip(numbers, edges, strict=True):
                total = totals[edge]
                if total is None:
                    totals[edge] = feature * number
                else:
                    total.add_(feature, alpha=number)
        return cast(tuple[Tensor, ...], tuple(totals))

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count, receivers = ctx.count, ctx.receivers
        gradients = tuple(channels_last(gradient) for gradient in gradients)
        in_features: list[Tensor | None] = [None] * count
        in_weights: list[Tensor | None] = [None] * count
        features = ctx.saved_tensors  # unpacked once: that may evaluate a cell again
        for k in range(count):
            if ctx.needs_input_grad[2 + k]:
                in_features[k] = _weighted_sum([gradients[edge] for edge in receivers[k]], ctx.numbers[k])
            if ctx.needs_input_grad[2 + count + k]:
                flat = pixels(features[k]).view(-1)
                in_weights[k] = torch.stack([flat.dot(pixels(gradients[edge]).view(-1)) for edge in receivers[k]])
        needs = ctx.needs_input_grad[2 + 2 * count :]
        in_totals = [gradient if need else None for gradient, need in zip(gradients, needs, strict=True)]
        return None, None, *in_features, *in_weights, *in_totals


def _weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    out = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        out.add_(tensor, alpha=weight)
    return out
