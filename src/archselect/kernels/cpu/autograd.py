"""The compiled loops as functions of autograd, with gradients written by hand; these have no gradients themselves.

A node is the sum of `weight * BN(operation(state))`. `edge_forward` evaluates the operations out of one state as far as
the batch statistics; it returns an `EdgeOutput` for each node that they lead to, which holds what the operations gave
but not their weighted and normalised sum. `node_sum` makes the sum when all edges of a node are there, reading
everything once. `mix` is the BN of a pointwise convolution of ReLU(x), of tensors that lie apart as if their channels
were concatenated.

The gradient in a node is the gradient in each of its edges. So what an edge gives autograd is an anchor: a tensor of
the size of the node that takes no memory, and only hands the gradient over. `edge_forward` takes it from there by hand:
through weights and normalisations, which need two numbers per channel, and back through the convolutions.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from archselect.kernels.cpu.backward import EdgeGradients
from archselect.kernels.cpu.evaluated import Evaluated
from archselect.kernels.cpu.native import (
    MixedArgs,
    NativeLoops,
    PartArgs,
    TermArgs,
    address,
    channels_last,
    empty,
    is_plain,
    native_loops,
)
from archselect.kernels.interface import (
    Convolution,
    Convolutions,
    NormMode,
    Operation,
    Running,
    tensors_of,
    with_tensors,
)

SEPARABLE_KERNELS, DENSE_KERNELS = (3, 5, 7), (1, 3, 5, 7, 9, 11)

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


class EdgeOutput(NamedTuple):
    """What the edges from one state add to a node: an anchor of its size, summands, and the tensors they point to."""

    autograd_anchor: Tensor
    terms: list[TermArgs]
    holds: list[Tensor]


Asked = tuple[Sequence[Operation], int, NormMode]
"""Operations without their tensors, which autograd must be able to free; their stride, and how to normalise."""


def edge_forward(
    state: Tensor, operations: Sequence[Operation], stride: int, nodes: int, batch: NormMode
) -> list[EdgeOutput]:
    """Evaluate operations on the edges that leave a state, and return what each of the nodes that they lead to gets.

    Args:
        state: `(B, C, H, W)` in channels_last.
        operations: Those that have weight.
        stride: Of all of them; identities have stride 1.
        nodes: How many they lead to.
        batch: How to normalise.

    Raises:
        ValueError: The operations are not of the dtype or the channels of the state, or a batch has a single value per
            channel.
    """
    _check(state, operations)
    pairs = [pair for operation in operations for pair in tensors_of(operation)]
    tensors = [channels_last(tensor) if kind == "value" else tensor.contiguous() for kind, tensor in pairs]
    asked: Asked = with_tensors(operations, [_NOTHING] * len(tensors)), stride, batch
    summands: list[tuple[list[TermArgs], list[Tensor]]] = [([], []) for _ in range(nodes)]
    anchors = _EdgeForward.apply(summands, asked, state, *tensors)
    return [EdgeOutput(anchor, *found) for anchor, found in zip(anchors, summands, strict=True)]


def _check(state: Tensor, operations: Sequence[Operation]) -> None:
    """Raise a ValueError for operations that loops cannot evaluate on a state `(B, C, H, W)`: they would not notice."""
    for operation in operations:
        for kind, tensor in tensors_of(operation):
            if not is_plain(tensor):
                raise ValueError(f"The {kind} of an operation is no tensor in the memory of the CPU: {tensor!r}.")
            if tensor.dtype != state.dtype:
                raise ValueError(f"The {kind} of an operation is {tensor.dtype}, but the image is {state.dtype}.")
        for stage in operation.stages if isinstance(operation, Convolutions) else ():
            kernels = DENSE_KERNELS if stage.depthwise is None else SEPARABLE_KERNELS
            if stage.kernel not in kernels:
                raise ValueError(f"The loops take kernels of sides {kernels}; got {stage.kernel}.")
            channels, reads = state.shape[1], stage.mixing.shape[1]
            if reads != channels or len(stage.mixing if stage.depthwise is None else stage.depthwise) % channels:
                raise ValueError(f"A convolution of {reads} channels cannot read an image of {channels} channels.")


def node_sum(outputs: Sequence[EdgeOutput]) -> Tensor:
    """Return the sum of all that edges add to a node, `(B, C, H, W)` in channels_last."""
    terms = [term for output in outputs for term in output.terms]
    return _NodeSum.apply(terms, *(output.autograd_anchor for output in outputs))


def convolve(x: Tensor, stages: tuple[Convolution, ...], stride: int, batch: NormMode) -> Tensor:
    """Return what one or two convolutions of a single edge give of `(B, C, H, W)`; the stride is that of the first."""
    operation = Convolutions(torch.ones(1, dtype=x.dtype), (0,), (0,), stages)
    return node_sum(edge_forward(channels_last(x), [operation], stride, 1, batch))


class _NodeSum(Function):
    @staticmethod
    def forward(ctx: Any, terms: Sequence[TermArgs], *anchors: Tensor) -> Tensor:
        out = empty(anchors[0].shape, anchors[0].dtype)
        loops = native_loops(out.shape, out.dtype, 1, _ANY)
        loops.call("sum_terms", loops.outputs, terms, address(out), False)
        return out if terms else out.zero_()

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = channels_last(gradient)
        return None, *(gradient if need else None for need in ctx.needs_input_grad[1:])


_NOTHING = torch.empty(0)
_ANY = NormMode(training=True, momentum=0.0, eps=0.0)  # for loops that do not normalise


def _edges(asked: Asked, state: Tensor, tensors: Sequence[Tensor]) -> Evaluated:
    operations, stride, batch = asked
    return Evaluated(state, with_tensors(operations, tensors), stride, batch)


class _EdgeForward(Function):
    @staticmethod
    def forward(ctx: Any, summands: Any, asked: Asked, state: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = channels_last(state)
        edges = _edges(asked, state, tensors)
        edges.evaluate()
        for term in edges.terms():
            terms, holds = summands[edges.operations[term.operation].receivers[term.edge]]
            terms.append(edges.term(term))
            holds.append(term.value)
        for _, holds in summands:
            holds += [edges.statistics, *tensors]
        ctx.asked = asked
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(state, *tensors, edges.statistics, *edges.outputs)
        return tuple(state.new_empty(1).as_strided(edges.out_size, (0, 0, 0, 0)) for _ in summands)

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _, _, needs_state, *needs = ctx.needs_input_grad
        state, *saved = ctx.saved_tensors
        edges = _edges(ctx.asked, state, saved[: len(needs)])
        edges.statistics, *edges.outputs = saved[len(needs) :]
        found = EdgeGradients(edges, [channels_last(gradient) for gradient in gradients], needs_state, needs)
        in_tensors = (gradient if need else None for gradient, need in zip(found.in_tensors, needs, strict=True))
        return None, None, found.in_state, *in_tensors


def mix(parts: Sequence[Tensor], weights: Sequence[Tensor], norm: Running, batch: NormMode) -> Tensor:
    """Return `BN(convolution(ReLU(concatenated parts)))` in channels_last; a ValueError for parts that do not fit.

    Args:
        parts: Each `(B, C, H, W)` in channels_last.
        weights: One `(D, len(parts) * C, 1, 1)`; or two, each for half of the outputs, which read the first and the
            last of each 2x2 pixels (the factorized reduction) and give `(B, D, H / 2, W / 2)`.
        norm: Statistics of the `D` outputs.
        batch: How to normalise.
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
    return _Mix.apply(_Mixture(len(weights), norm, batch), *(weight.contiguous() for weight in weights), *parts)


class _Mixture(NamedTuple):
    """What `mix` was asked for, without weights and parts; there is a weight for each pixel of the stride."""

    stride: int
    norm: Running
    batch: NormMode

    def native_loops(self, out: Tensor, part: Tensor) -> NativeLoops:
        _, outs, height, width = out.shape
        size = torch.Size((len(out), outs, height * self.stride, width * self.stride))
        return native_loops(size, out.dtype, self.stride, self.batch, gcd(part.shape[1], outs // self.stride))

    def parts(self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[PartArgs]:
        """Return weights and parts, one after another, and the gradients that are wanted as the loops read them."""
        outs, columns = tensors[0].shape[:2]
        ins = columns // (len(tensors) - self.stride)
        every, found = list(zip(tensors, gradients, strict=True)), []

        def from_column(weight: Tensor | None, number: int) -> int | None:
            return None if weight is None else address(weight.view(-1), number * ins)

        for which, (weight, in_weight) in enumerate(every[: self.stride]):
            for number, (part, in_part) in enumerate(every[self.stride :]):
                args = PartArgs(x=address(part), ins=ins, outs=outs, weight_step=columns, in_x=address(in_part))
                args.weight, args.in_weight = from_column(weight, number), from_column(in_weight, number)
                args.first, args.out, args.add = which, which * outs, number > 0
                found.append(args)
        return found

    def mixed(self, out: Tensor, statistics: Tensor, gradient: Tensor | None = None) -> MixedArgs:
        moments = {"mean": address(statistics), "rstd": address(statistics, 1)}
        running = {"running_mean": address(self.norm.mean), "running_variance": address(self.norm.variance)}
        return MixedArgs(out=address(out), gradient=address(gradient), **moments, **running)


class _Mix(Function):
    @staticmethod
    def forward(ctx: Any, mixture: _Mixture, *tensors: Tensor) -> Tensor:
        stride = mixture.stride
        tensors = *tensors[:stride], *map(channels_last, tensors[stride:])
        weight, part = tensors[0], tensors[-1]
        images, _, height, width = part.shape
        out = empty((images, stride * len(weight), height // stride, width // stride), part.dtype)
        statistics = out.new_empty(2, out.shape[1])
        loops = mixture.native_loops(out, part)
        loops.check_batch()
        parts = mixture.parts(tensors, [None] * len(tensors))
        loops.call("mix_forward", loops.inputs, parts, mixture.mixed(out, statistics))
        ctx.mixture = mixture
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(out, statistics, *tensors)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        mixture: _Mixture = ctx.mixture
        out, statistics, *tensors = ctx.saved_tensors
        gradient = channels_last(gradient)
        # With a stride, of each 2x2 pixels of a part two are read.
        make = torch.empty_like if mixture.stride == 1 else torch.zeros_like
        gradients = [
            make(tensor) if need else None for tensor, need in zip(tensors, ctx.needs_input_grad[1:], strict=True)
        ]
        loops, parts = mixture.native_loops(out, tensors[-1]), mixture.parts(tensors, gradients)
        loops.call("mix_backward", loops.inputs, parts, mixture.mixed(out, statistics, gradient))
        return None, *gradients
