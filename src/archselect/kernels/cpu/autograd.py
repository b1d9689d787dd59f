"""The compiled loops as functions of autograd, with gradients written by hand; these have no gradients themselves.

A node is the sum of `weight * BN(operation(state))`. `edge_forward` evaluates the operations out of one state as far as
the batch statistics; it returns one `EdgeOutput` for each edge, which holds what the operations gave but not their
weighted and normalised sum. `node_sum` makes the sum when all edges of a node are there, reading everything once. `mix`
is the BN of a pointwise convolution of ReLU(x), of tensors that lie apart as if their channels were concatenated.

The gradient in a node is the gradient in each of its edges. So what an edge gives autograd is an anchor: a tensor of
the size of the node that takes no memory, and only hands the gradient over. `edge_forward` takes it from there by hand:
through weights and normalisations, which need two numbers per channel, and back through the convolutions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from archselect.kernels.cpu.backward import EdgeGradients
from archselect.kernels.cpu.evaluated import Evaluated
from archselect.kernels.cpu.native import FIELDS, NativeLoops, NormMode, Running, at, channels_last, empty, native_loops
from archselect.kernels.cpu.operations import Convolution, Convolutions, Operation, check, tensors_of, with_tensors

Backward = Callable[..., Any]


def first_order(backward: Backward) -> Backward:
    """Let the backward of an autograd function refuse second derivatives.

    `once_differentiable` alone refuses them only where the incoming gradient needs one, and takes this one for a
    constant elsewhere.
    """
    once: Backward = once_differentiable(backward)

    @wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():  # in a backward pass: create_graph=True
            raise RuntimeError(
                "The kernels for CPUs have first derivatives only, but a backward pass with create_graph=True asks for "
                "the second. Take Hessian-vector products by finite differences of the gradient."
            )
        return once(ctx, *gradients)

    return checked


@dataclass
class EdgeOutput:
    """What arrives at a node from one state: summands, as the loops read them, and the token for autograd.

    Attributes:
        token: Of the node's size, without memory.
        rows: Per summand, addresses of what was computed and its weight; of mean, 1 / std, scale and shift of its
            normalisation, or 0.
        holds: The tensors at these addresses.
    """

    autograd_anchor: Tensor
    rows: list[list[int]] = field(default_factory=list)
    holds: list[Tensor] = field(default_factory=list)


def edge_forward(
    state: Tensor, operations: Sequence[Operation], stride: int, arrivals: int, batch: NormMode
) -> list[EdgeOutput]:
    """Evaluate operations on the edges that leave a state.

    Args:
        state: `(B, C, H, W)` in channels_last.
        operations: Those that have weight.
        stride: Of all of them; identities have stride 1.
        arrivals: Number of edges.
        batch: How to normalise.

    Returns:
        One arrival for each edge.

    Raises:
        ValueError: The operations are not of the dtype or the channels of the state, or a batch has a single value per
            channel.
    """
    check(state, operations)
    pairs = [pair for operation in operations for pair in tensors_of(operation)]
    tensors = [channels_last(tensor) if kind == "value" else tensor.contiguous() for kind, tensor in pairs]
    # Without their tensors, which autograd must be able to free.
    bare = with_tensors(operations, [_NOTHING] * len(tensors))
    made: list[EdgeOutput] = []
    tokens: tuple[Tensor, ...] = _EdgeForward.apply(_EdgeWork(bare, stride, arrivals, batch), made, state, *tensors)
    for arrival, autograd_anchor in zip(made, tokens, strict=True):
        arrival.autograd_anchor = autograd_anchor
    return made


def node_sum(arrivals: Sequence[EdgeOutput]) -> Tensor:
    """Return the sum of all that arrives at a node, `(B, C, H, W)` in channels_last."""
    rows = [row for arrival in arrivals for row in arrival.rows]
    out: Tensor = _NodeSum.apply(rows, *(arrival.autograd_anchor for arrival in arrivals))
    return out


def convolve(x: Tensor, stages: tuple[Convolution, ...], stride: int, batch: NormMode) -> Tensor:
    """Return what one or two convolutions give, one after the other, with their normalisations.

    Args:
        x: `(B, C, H, W)`.
        stages: Of a single edge.
        stride: Of the first.
        batch: How to normalise.

    Returns:
        `(B, C, H', W')` in channels_last.
    """
    operation = Convolutions(torch.ones(1, dtype=x.dtype), (0,), (0,), stages)
    return node_sum(edge_forward(channels_last(x), [operation], stride, 1, batch))


class _NodeSum(Function):
    @staticmethod
    def forward(ctx: Any, rows: Sequence[list[int]], *tokens: Tensor) -> Tensor:
        out = empty(tokens[0].shape, tokens[0].dtype)
        terms = [number for row in rows for number in (*row, *[0] * (FIELDS["term"] - len(row)))]
        native_loops(out.shape, out.dtype, 1, _ANY).sum_terms(terms, out, add=False)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = channels_last(gradient)
        return None, *(gradient if need else None for need in ctx.needs_input_grad[1:])


@dataclass(frozen=True)
class _EdgeWork:
    """What `edge_forward` was asked for, without tensors."""

    operations: Sequence[Operation]
    stride: int
    arrivals: int
    batch: NormMode

    def edges(self, state: Tensor, tensors: Sequence[Tensor]) -> Evaluated:
        return Evaluated(state, with_tensors(self.operations, tensors), self.stride, self.batch)


_NOTHING = torch.empty(0)
_ANY = NormMode(training=True, momentum=0.0, eps=0.0)  # for loops that do not normalise


class _EdgeForward(Function):
    @staticmethod
    def forward(
        ctx: Any, work: _EdgeWork, arrivals: list[EdgeOutput], state: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        state = channels_last(state)
        edges = work.edges(state, tensors)
        edges.evaluate()
        tokens = tuple(state.new_empty(1).as_strided(edges.out_size, (0, 0, 0, 0)) for _ in range(work.arrivals))
        arrivals += (EdgeOutput(autograd_anchor, holds=[edges.statistics, *tensors]) for autograd_anchor in tokens)
        for term in edges.terms():
            arrivals[term.receiver].rows.append(term.row)
            arrivals[term.receiver].holds.append(term.value)
        ctx.work, ctx.given = work, len(tensors)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(state, *tensors, *edges.computed())
        return tokens

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        state, *saved = ctx.saved_tensors
        edges = ctx.work.edges(state, saved[: ctx.given])
        edges.restore(saved[ctx.given :])
        needs_state, *needs = ctx.needs_input_grad[2:]
        found = EdgeGradients(edges, [channels_last(gradient) for gradient in gradients], needs_state, needs)
        in_tensors = (gradient if need else None for gradient, need in zip(found.in_tensors, needs, strict=True))
        return None, None, found.in_state, *in_tensors


def mix(parts: Sequence[Tensor], weights: Sequence[Tensor], norm: Running, batch: NormMode) -> Tensor:
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
    out: Tensor = _Mix.apply(
        _MixedWork(len(weights), norm, batch), *(weight.contiguous() for weight in weights), *parts
    )
    return out


@dataclass(frozen=True)
class _MixedWork:
    weights: int
    norm: Running
    batch: NormMode

    @property
    def stride(self) -> int:
        return self.weights

    def native_loops(self, weights: Sequence[Tensor], parts: Sequence[Tensor]) -> NativeLoops:
        batch, ins, height, width = parts[0].shape
        outs = len(weights[0])
        size = torch.Size((batch, self.weights * outs, height, width))
        return native_loops(size, parts[0].dtype, self.stride, self.batch, gcd(ins, outs))

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
    def forward(ctx: Any, work: _MixedWork, *tensors: Tensor) -> Tensor:
        weights, parts = tensors[: work.weights], [channels_last(part) for part in tensors[work.weights :]]
        batch, _, height, width = parts[0].shape
        outs = work.weights * len(weights[0])
        out = empty((batch, outs, height // work.stride, width // work.stride), parts[0].dtype)
        statistics = out.new_empty(2, outs)
        nothing = [None] * len(weights), [None] * len(parts)
        work.native_loops(weights, parts).mix_forward(
            work.rows(weights, parts, *nothing), work.mixed(out, statistics, None)
        )
        ctx.work = work
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(out, statistics, *weights, *parts)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        work: _MixedWork = ctx.work
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
        work.native_loops(weights, parts).mix_backward(rows, work.mixed(out, statistics, gradient))
        return None, *in_weights, *in_parts
