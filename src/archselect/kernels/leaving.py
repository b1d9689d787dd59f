"""What leaves a state of a cell, all edges in a few calls of compiled loops, and what arrives at a node.

A node is the sum of `weight * BN(operation(state))`. `leave` evaluates the operations out of one state as far as the
batch statistics; it returns one `Arrival` for each edge, which holds what the operations gave but not their weighted
and normalised sum. `arrive` makes the sum when all edges of a node are there, reading everything once.

The gradient in a node is the gradient in each of its edges. So what an edge gives autograd is a token: a tensor of the
size of the node that takes no memory, and only hands the gradient over. `leave` takes it from there by hand: through
weights and normalisations, which need two numbers per channel, and back through the convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from archselect.kernels.backward import EdgeGradients
from archselect.kernels.edges import Convolution, Convolutions, Operation, check, tensors_of, with_tensors
from archselect.kernels.evaluated import Evaluated
from archselect.kernels.gradient import first_order
from archselect.kernels.layout import channels_last, empty
from archselect.kernels.native.calls import FIELDS, Batch, loops


@dataclass
class Arrival:
    """What arrives at a node from one state: summands, as the loops read them, and the token for autograd.

    Attributes:
        token: Of the node's size, without memory.
        rows: Per summand, addresses of what was computed and its weight; of mean, 1 / std, scale and shift of its
            normalisation, or 0.
        holds: The tensors at these addresses.
    """

    token: Tensor
    rows: list[list[int]] = field(default_factory=list)
    holds: list[Tensor] = field(default_factory=list)


def leave(state: Tensor, operations: Sequence[Operation], stride: int, arrivals: int, batch: Batch) -> list[Arrival]:
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
    made: list[Arrival] = []
    tokens: tuple[Tensor, ...] = _Leave.apply(_Work(bare, stride, arrivals, batch), made, state, *tensors)
    for arrival, token in zip(made, tokens, strict=True):
        arrival.token = token
    return made


def arrive(arrivals: Sequence[Arrival]) -> Tensor:
    """Return the sum of all that arrives at a node, `(B, C, H, W)` in channels_last."""
    rows = [row for arrival in arrivals for row in arrival.rows]
    out: Tensor = _Arrive.apply(rows, *(arrival.token for arrival in arrivals))
    return out


def convolve(x: Tensor, stages: tuple[Convolution, ...], stride: int, batch: Batch) -> Tensor:
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
    return arrive(leave(channels_last(x), [operation], stride, 1, batch))


class _Arrive(Function):
    @staticmethod
    def forward(ctx: Any, rows: Sequence[list[int]], *tokens: Tensor) -> Tensor:
        out = empty(tokens[0].shape, tokens[0].dtype)
        terms = [number for row in rows for number in (*row, *[0] * (FIELDS["term"] - len(row)))]
        loops(out.shape, out.dtype, 1, _ANY).sum_terms(terms, out, add=False)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = channels_last(gradient)
        return None, *(gradient if need else None for need in ctx.needs_input_grad[1:])


@dataclass(frozen=True)
class _Work:
    """What `leave` was asked for, without tensors."""

    operations: Sequence[Operation]
    stride: int
    arrivals: int
    batch: Batch

    def edges(self, state: Tensor, tensors: Sequence[Tensor]) -> Evaluated:
        return Evaluated(state, with_tensors(self.operations, tensors), self.stride, self.batch)


_NOTHING = torch.empty(0)
_ANY = Batch(training=True, momentum=0.0, eps=0.0)  # for loops that do not normalise


class _Leave(Function):
    @staticmethod
    def forward(ctx: Any, work: _Work, arrivals: list[Arrival], state: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = channels_last(state)
        edges = work.edges(state, tensors)
        edges.evaluate()
        tokens = tuple(state.new_empty(1).as_strided(edges.out_size, (0, 0, 0, 0)) for _ in range(work.arrivals))
        arrivals += (Arrival(token, holds=[edges.statistics, *tensors]) for token in tokens)
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
