"""Pointwise convolution and batch normalisation as one matrix product.

The batch statistics of `P x` follow from those of `x`: mean `P m` and variance `diag(P S P^T)` for the mean `m` and the
covariance `S` of the channels of `x`. So `weight * BN(P x) = A x - A m` with `A = weight * diag(1 / std) P`: neither
`P x` nor its normalisation is ever made or kept, and because the result is one matrix product it can be added to a
running sum while it is computed. The covariance of C channels costs what the pointwise convolution itself does.

Everything is for E edges at once, so that what is small is done for all of them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import add_pointwise, blocks, channels_last, pointwise, product


@dataclass(frozen=True)
class Moments:
    """Mean `(E, C)` and covariance `(E, C, C)`, divided by `count`, of the channels of E tensors over their pixels."""

    mean: Tensor
    covariance: Tensor
    count: int

    def through(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance `(E, D)` of the channels of `matrix x`, for a matrix `(E, D, C)`."""
        edges = len(matrix)
        mean = torch.bmm(matrix, self.mean.unsqueeze(2).expand(edges, -1, -1)).squeeze(2)
        products = torch.bmm(matrix, self.covariance.expand(edges, -1, -1))
        return mean, torch.linalg.vecdot(products, matrix).clamp_min_(0)


@torch.no_grad()
def moments(xs: Sequence[Tensor]) -> Moments:
    """Return the moments of each `(B, C, H, W)`; constants for autograd, `project` knows what hangs on them."""
    channels = xs[0].shape[1]
    count = xs[0].numel() // channels
    mean = xs[0].new_empty(len(xs), channels)
    squares = xs[0].new_empty(len(xs), channels, channels)
    for x, its_mean, its_squares in zip(xs, mean.unbind(), squares.unbind(), strict=True):
        parts = blocks(x)
        torch.sum(parts.sum(1), 0, out=its_mean)
        torch.sum(torch.bmm(parts.transpose(1, 2), parts), 0, out=its_squares)
    mean.mul_(1 / count)
    return Moments(mean, squares.mul_(1 / count).addcmul_(mean.unsqueeze(2), mean.unsqueeze(1), value=-1), count)


def project(
    xs: Sequence[Tensor],
    matrix: Tensor,
    mean: Tensor,
    variance: Tensor,
    weights: Tensor | None = None,
    totals: Sequence[Tensor | None] | None = None,
    batch: Moments | None = None,
    eps: float = 1e-5,
) -> tuple[list[Tensor], Tensor]:
    """Return `totals + A x` and the offsets `-A m`, so that their sum is `totals + weights * BN(matrix x)`.

    Where there is no total there is nothing to add in place to; the offset is then in the sum already and zero.

    Args:
        xs: One `(B, C, H, W)` in channels_last for all edges, or one for each.
        matrix: `(E, D, C)`, the pointwise convolutions.
        mean: `(E, D)` that is subtracted from `matrix x`: the running one, or `matrix @ batch.mean`.
        variance: `(E, D)`, likewise.
        weights: Mixture weights `(E,)`; None: 1.
        totals: Each `(B, D, H, W)`, changed in place, or None for zero; None: all are.
        batch: Moments of `xs`, if mean and variance were computed from them; their gradient then reaches `xs` and
            `matrix`. None: mean and variance are constants.
        eps: Added to the variance.

    Returns:
        `E` tensors `(B, D, H, W)`, and `(E, D)`.
    """
    given = [None] * len(matrix) if totals is None else totals
    *sums, offset = _Projection.apply(matrix, mean, variance, weights, batch, eps, len(xs), *xs, *given)
    return sums, offset


class _Projection(Function):
    @staticmethod
    def forward(
        ctx: Any,
        matrix: Tensor,
        mean: Tensor,
        variance: Tensor,
        weights: Tensor | None,
        batch: Moments | None,
        eps: float,
        count: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        xs, totals = tensors[:count], tensors[count:]
        ctx.save_for_backward(matrix, mean, scale := (variance + eps).rsqrt_(), weights, *xs)
        ctx.batch = batch
        ctx.fresh = [total is None for total in totals]
        ctx.mark_dirty(*(total for total in totals if total is not None))
        whole = _whole(matrix, scale, weights)
        offset = (mean * scale).neg_()
        if weights is not None:
            offset.mul_(weights.unsqueeze(1))
        sums = []
        for edge, (total, its_matrix, its_offset) in enumerate(zip(totals, whole, offset, strict=True)):
            x = xs[edge % count]
            if total is None:
                total = pointwise(x, its_matrix, its_offset)
            else:
                add_pointwise(total, x, its_matrix)
            sums.append(total)
        if all(ctx.fresh):
            offset.zero_()
        elif any(ctx.fresh):
            offset[ctx.fresh] = 0
        return *sums, offset

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        matrix, mean, scale, weights, *xs = ctx.saved_tensors
        batch: Moments | None = ctx.batch
        needs_matrix, needs_weights = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
        needs_xs = any(ctx.needs_input_grad[7 : 7 + len(xs)])
        in_sums = [channels_last(gradient) for gradient in gradients[:-1]]
        in_offset = _in_offset(in_sums, gradients[-1], ctx.fresh)
        whole = _whole(matrix, scale, weights)
        in_weights = in_matrix = factor = shift = None
        if needs_matrix or needs_weights or (needs_xs and batch is not None):
            in_whole = _in_whole(in_sums, xs, in_offset, batch)
            in_normalised = in_whole if weights is None else in_whole * weights.view(-1, 1, 1)
            if needs_weights:
                in_weights = _in_weights(in_whole, in_offset, matrix, scale, mean if batch is None else None)
            if needs_matrix:
                in_matrix = scale.unsqueeze(2) * in_normalised
            if batch is not None:
                through_variance = _in_variance(in_normalised, matrix, scale).unsqueeze(2) * matrix
                if in_matrix is not None:
                    in_matrix.add_(through_variance @ batch.covariance, alpha=2)
                if needs_xs:
                    factor, shift = _through_moments(batch, through_variance, matrix, in_offset, whole)
        in_xs = _in_xs(in_sums, xs, whole, factor, shift) if needs_xs else [None] * len(xs)
        in_totals = [None if fresh else gradient for gradient, fresh in zip(in_sums, ctx.fresh, strict=True)]
        return in_matrix, None, None, in_weights, None, None, None, *in_xs, *in_totals


def _whole(matrix: Tensor, scale: Tensor, weights: Tensor | None) -> Tensor:
    """Return `weights * diag(scale) matrix`, `(E, D, C)`."""
    return matrix * (scale if weights is None else scale * weights.unsqueeze(1)).unsqueeze(2)


def _in_offset(in_sums: Sequence[Tensor], gradient: Tensor, fresh: Sequence[bool]) -> Tensor:
    """Return the gradient `(E, D)` in the offsets, whether they were returned or, for a fresh sum, are within it."""
    if not any(fresh):
        return gradient
    within = zip(in_sums, gradient.unbind(), fresh, strict=True)
    return torch.stack([blocks(in_sum).sum(1).sum(0) if is_fresh else row for in_sum, row, is_fresh in within])


def _in_whole(in_sums: Sequence[Tensor], xs: Sequence[Tensor], in_offset: Tensor, batch: Moments | None) -> Tensor:
    """Return the gradient `(E, D, C)` in the whole matrix `A`, of which the batch mean makes the offset `-A m` too."""
    in_whole = torch.stack([product(gradient, xs[edge % len(xs)]) for edge, gradient in enumerate(in_sums)])
    return in_whole if batch is None else in_whole.sub_(in_offset.unsqueeze(2) * batch.mean.unsqueeze(1))


def _in_weights(
    in_whole: Tensor, in_offset: Tensor, matrix: Tensor, scale: Tensor, constant_mean: Tensor | None
) -> Tensor:
    """Return the gradient `(E,)` in the mixture weights; a constant mean is not in the gradient of `A` yet."""
    in_weights = torch.linalg.vecdot(in_whole, matrix).mul_(scale)
    if constant_mean is not None:
        in_weights.sub_(in_offset * constant_mean * scale)
    return in_weights.sum(1)


def _in_variance(in_normalised: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient `(E, D)` in the variance, given that in `diag(scale) matrix`: `scale = variance ** -0.5`."""
    return torch.linalg.vecdot(in_normalised, matrix).mul_(scale.pow(3)).mul_(-0.5)


def _through_moments(
    batch: Moments, through_variance: Tensor, matrix: Tensor, in_offset: Tensor, whole: Tensor
) -> tuple[Tensor, Tensor]:
    """Return `(E, C, C)` and `(E, C)`: the mean and the variance give a pixel x the gradient `x factor + shift`."""
    factor = (through_variance.transpose(1, 2) @ matrix).mul_(2 / batch.count)
    through_mean = (in_offset.unsqueeze(1) @ whole).div_(-batch.count)
    return factor, through_mean.sub_(batch.mean.unsqueeze(1) @ factor).squeeze(1)


def _in_xs(
    in_sums: Sequence[Tensor], xs: Sequence[Tensor], whole: Tensor, factor: Tensor | None, shift: Tensor | None
) -> list[Tensor]:
    """Return the gradient `(B, C, H, W)` in each input: `A^T gradient` of each of its edges plus `x factor + shift`."""
    shifts = [None] * len(xs) if shift is None else _per_input(shift, len(xs)).unbind()
    in_xs: list[Tensor] = []
    for edge, (gradient, its_whole) in enumerate(zip(in_sums, whole, strict=True)):
        if edge < len(xs):
            in_xs.append(pointwise(gradient, its_whole.t(), shifts[edge]))
        else:
            add_pointwise(in_xs[edge % len(xs)], gradient, its_whole.t())
    if factor is not None:
        for in_x, x, its_factor in zip(in_xs, xs, _per_input(factor, len(xs)), strict=True):
            add_pointwise(in_x, x, its_factor.t())
    return in_xs


def _per_input(edges: Tensor, inputs: int) -> Tensor:
    """Return, for `(E, ...)`, the sum over the edges that read the same input."""
    return edges if inputs == len(edges) else edges.sum(0, keepdim=True)
