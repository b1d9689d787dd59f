"""BN of a pointwise convolution of ReLU(x), of tensors that lie apart as if their channels were concatenated."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.gradient import first_order
from archselect.kernels.layout import at, channels_last, empty
from archselect.kernels.native.calls import Batch, Loops, Running, loops


def mix(parts: Sequence[Tensor], weights: Sequence[Tensor], norm: Running, batch: Batch) -> Tensor:
    """Return `BN(convolution(ReLU(concatenated parts)))` in channels_last.

    Args:
        parts: Each `(B, C, H, W)` in channels_last.
        weights: One `(D, len(parts) * C, 1, 1)`; or two, each for half of the outputs, which read the first and the
            last of each 2x2 pixels (the factorized reduction).
        norm: Statistics of the `D` outputs.
        batch: How to normalise.

    Returns:
        `(B, D, H, W)`; of two weights `(B, D, H / 2, W / 2)`.

    Raises:
        ValueError: Weights are not of the dtype and channels of the parts, or give unequal numbers of channels; or
            images of an odd size are to be halved.
    """
    ins, *size = parts[0].shape[1:]
    for weight in weights:
        if weight.dtype != parts[0].dtype or weight.shape[1] != len(parts) * ins:
            raise ValueError(
                f"{len(parts)} images of {ins} channels in {parts[0].dtype} need weights (D, {len(parts) * ins}, 1, 1) "
                f"of that dtype; got {tuple(weight.shape)} in {weight.dtype}."
            )
    if len({len(weight) for weight in weights}) > 1:
        raise ValueError(f"Both weights give as many channels; got {[len(weight) for weight in weights]}.")
    if len(weights) == 2 and any(side % 2 for side in size):
        raise ValueError(f"A factorized reduction halves images of even height and width; got {tuple(size)}.")
    out: Tensor = _Mix.apply(_Work(len(weights), norm, batch), *(weight.contiguous() for weight in weights), *parts)
    return out


@dataclass(frozen=True)
class _Work:
    weights: int
    norm: Running
    batch: Batch

    @property
    def stride(self) -> int:
        return self.weights

    def loops(self, weights: Sequence[Tensor], parts: Sequence[Tensor]) -> Loops:
        batch, ins, height, width = parts[0].shape
        outs = len(weights[0])
        size = torch.Size((batch, self.weights * outs, height, width))
        return loops(size, parts[0].dtype, self.stride, self.batch, gcd(ins, outs))

    def rows(
        self,
        weights: Sequence[Tensor],
        parts: Sequence[Tensor],
        in_weights: Sequence[Tensor | None],
        in_parts: Sequence[Tensor | None],
    ) -> list[int]:
        """Return what is computed as the loops read it, with the gradients that are wanted."""
        rows: list[int] = []
        ins, outs, wide = parts[0].shape[1], len(weights[0]), weights[0].shape[1]
        for which, (weight, in_weight) in enumerate(zip(weights, in_weights, strict=True)):
            for number, (part, in_part) in enumerate(zip(parts, in_parts, strict=True)):
                rows += [
                    part.data_ptr(),
                    at(weight, number * ins),
                    wide,
                    ins,
                    outs,
                    which,
                    which * outs,
                    int(number > 0),
                ]
                rows += [0 if in_part is None else in_part.data_ptr()]
                rows += [0 if in_weight is None else at(in_weight, number * ins)]
        return rows

    def mixed(self, out: Tensor, statistics: Tensor, gradient: Tensor | None) -> list[int]:
        mean, rstd = statistics.unbind()
        tensors = (out, mean, rstd, self.norm.mean, self.norm.variance)
        return [*(tensor.data_ptr() for tensor in tensors), 0 if gradient is None else gradient.data_ptr()]


class _Mix(Function):
    @staticmethod
    def forward(ctx: Any, work: _Work, *tensors: Tensor) -> Tensor:
        weights, parts = tensors[: work.weights], [channels_last(part) for part in tensors[work.weights :]]
        batch, _, height, width = parts[0].shape
        outs = work.weights * len(weights[0])
        out = empty((batch, outs, height // work.stride, width // work.stride), parts[0].dtype)
        statistics = out.new_empty(2, outs)
        nothing = [None] * len(weights), [None] * len(parts)
        work.loops(weights, parts).mix_forward(work.rows(weights, parts, *nothing), work.mixed(out, statistics, None))
        ctx.work = work
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(out, statistics, *weights, *parts)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: _Work = ctx.work
        out, statistics, *tensors = ctx.saved_tensors
        weights, parts = tensors[: work.weights], tensors[work.weights :]
        needs = ctx.needs_input_grad[1:]
        make = torch.empty_like if work.stride == 1 else torch.zeros_like  # of each 2x2 pixels two are read
        in_weights, in_parts = (
            [make(tensor) if need else None for tensor, need in zip(of, their_needs, strict=True)]
            for of, their_needs in ((weights, needs[: work.weights]), (parts, needs[work.weights :]))
        )
        rows = work.rows(weights, parts, in_weights, in_parts)
        gradient = channels_last(gradient)
        work.loops(weights, parts).mix_backward(rows, work.mixed(out, statistics, gradient))
        return None, *in_weights, *in_parts
