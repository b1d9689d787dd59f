"""What an operator needs at least: one of PyTorch from its name and shapes, a call of the loops from its arguments.

Every tensor is read or written once. Operators that only arrange others (`conv2d`, `matmul`, `clone`) and those that
only make views are not here. Of a call of the loops the images count; weights and statistics are small beside them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.profiler import record_function

from archselect.kernels.cpu import native
from archselect.kernels.cpu.native import NativeLoops

Shape = Sequence[int]

LOOPS = "loops"
WINDOW = 9
"""Of a pooling of the loops."""


class Work(NamedTuple):
    """A kind of work, the numbers that it reads and writes, and its floating point operations."""

    kind: str
    numbers: int
    operations: int


def work_of(name: str, shapes: Sequence[Any], values: Sequence[Any]) -> Work | None:
    """Return what a call needs, or None if the operator is not one that does work of its own.

    Args:
        name: As the profiler gives it, such as `aten::add_`.
        shapes: Of all arguments; empty for those that are no tensors (and for scalars).
        values: Of all arguments; None for tensors.
    """
    namespace, _, operator = name.partition("::")
    if namespace == LOOPS:
        kind, numbers, operations = operator.split("|")
        return Work(kind, int(numbers), int(operations))
    operator = operator.removesuffix("_").removesuffix("_with_indices").replace("_with_indices_", "_")
    if namespace != "aten" or not shapes or operator not in _KINDS:
        return None
    kind = _KINDS[operator]
    if kind == "convolution":
        return _convolution(operator.endswith("backward"), shapes, values)
    if kind == "pooling":
        return _pooling(operator.endswith("backward"), shapes, values)
    # A list has a list of shapes; older versions of PyTorch do not record them.
    tensors = [shape for shape in shapes if shape and isinstance(shape[0], int)] or shapes[0]
    read = sum(prod(shape) for shape in tensors)
    if kind == "products":
        *_, left, right = tensors
        written = prod(left[:-1]) * (right[-1] if len(right) > 1 else 1)
        return Work(f"{'batched' if len(left) > 2 else 'matrix'} products", read + written, 2 * written * left[-1])
    if kind == "reductions":
        return Work(kind, read, read)
    if kind == "copies":  # in place, what is written is an argument
        return Work(kind, read if operator in ("copy", "fill", "zero") else 2 * read, 0)
    if kind == "batch normalisation":
        size, backward = prod(shapes[0]), operator.endswith("backward")
        return Work(kind, (3 if backward else 2) * size, (8 if backward else 5) * size)
    written = prod(torch.broadcast_shapes(*tensors))
    return Work(kind, read + written, max(1, len(tensors) - 1) * written)


def _convolution(backward: bool, shapes: Sequence[Shape], values: Sequence[Any]) -> Work:
    """The gradient in the input reads the weight, the one in the weight reads the input; both that in the output."""
    x, weight = shapes[1:3] if backward else shapes[:2]
    kind = "depthwise" if weight[1] == 1 else "dense"
    kind = "convolution, pointwise" if all(side == 1 for side in weight[2:]) else f"convolution, {kind}"
    if backward:
        out, wanted = prod(shapes[0]), sum(map(bool, values[10][:2]))
        return Work(kind, out + wanted * (prod(x) + prod(weight)), wanted * 2 * out * prod(weight[1:]))
    size = [
        (side + 2 * pad - dilate * (kernel - 1) - 1) // step + 1
        for side, kernel, step, pad, dilate in zip(x[2:], weight[2:], *values[3:6], strict=True)
    ]
    out = prod((x[0], weight[0], *size))
    return Work(kind, prod(x) + prod(weight) + out, 2 * out * prod(weight[1:]))


def _pooling(backward: bool, shapes: Sequence[Shape], values: Sequence[Any]) -> Work:
    """The window is the argument after the larger image, then comes the stride; the smaller image costs the window."""
    window, stride = values[1 + backward : 3 + backward]
    large = prod(shapes[backward])
    small = large // prod(stride or window)
    return Work("pooling", large + small, small * prod(window))


_KINDS = {
    **dict.fromkeys(("convolution", "convolution_backward"), "convolution"),
    **dict.fromkeys(("mm", "bmm", "mv", "addmm", "baddbmm", "addmv", "addbmm"), "products"),
    **dict.fromkeys(
        ("batch_norm", "native_batch_norm_backward", "cudnn_batch_norm_backward", "batch_norm_backward"),
        "batch normalisation",
    ),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "max_pool2d_backward", "avg_pool2d_backward"), "pooling"),
    **dict.fromkeys(("sum", "mean", "amax", "amin", "var", "var_mean", "argmax", "dot", "vdot"), "reductions"),
    **dict.fromkeys(("copy", "fill", "zero", "constant_pad_nd", "flip", "roll", "cat"), "copies"),
    **dict.fromkeys(
        (
            *("relu", "clamp", "clamp_min", "neg", "sqrt", "rsqrt", "exp", "log", "pow", "reciprocal", "abs", "sign"),
            *("add", "sub", "rsub", "mul", "div", "maximum", "minimum", "eq", "ne", "gt", "ge", "lt", "le", "lerp"),
            *("threshold_backward", "masked_fill", "bitwise_and", "logical_and", "bitwise_not", "logical_not"),
            *("native_dropout", "_softmax", "_log_softmax", "_softmax_backward_data", "_log_softmax_backward_data"),
            *("addcmul", "addcdiv", "where"),
        ),
        "elementwise",
    ),
}
"""Kinds of PyTorch's operators; an element of an elementwise one costs an operation per pair of tensors, or one."""


@contextmanager
def recorded() -> Iterator[None]:
    """Let the profiler see each call of the loops as an operator with the work that it needs."""
    call = NativeLoops.call

    def recorded_call(loops: NativeLoops, name: str, shape: native.Shape, structures: Any, *more: Any) -> None:
        with ExitStack() as stack:
            if structures and name in _LOOPS:  # of nothing there is no work
                out = loops.outputs
                work = _LOOPS[name](_numbers(shape), _numbers(out), out.channels, structures, *more)
                stack.enter_context(record_function(f"{LOOPS}::{work.kind}|{work.numbers}|{work.operations}"))
            call(loops, name, shape, structures, *more)

    with mock.patch.object(NativeLoops, "call", recorded_call):
        yield


def _numbers(shape: native.Shape) -> int:
    return int(shape.images * shape.height * shape.width * shape.channels)


# What the loops need: of numbers of images that are read and of one that comes out, channels, and their arguments.


def _convolutions(
    backward: bool, read: int, out: int, channels: int, convolutions: Sequence[native.ConvolutionArgs]
) -> Work:
    """Forward, each x is read, each z written; a gradient reads both and z's, writes x's, and costs what z does."""
    read, written = read * len({one.x for one in convolutions}), out * len(convolutions)
    kind = "convolution, separable" if convolutions[0].depthwise else "convolution, dense"
    products = sum(one.kernel**2 + channels if one.depthwise else one.kernel**2 * channels for one in convolutions)
    if not backward:
        return Work(kind, read + written, 2 * out * products)
    in_x, in_weights = convolutions[0].in_x is not None, convolutions[0].in_mixing is not None
    return Work(kind, (1 + in_x) * read + 2 * written, (in_x + in_weights) * 2 * out * products)


def _sum_terms(read: int, out: int, _: int, terms: Sequence[native.TermArgs], to: Any, add: bool) -> Work:
    """Each value is read once, the sum written and, if it is added to, read."""
    return Work("sums of nodes", (len({term.x for term in terms}) + 1 + add) * out, 2 * len(terms) * out)


def _term_gradients(read: int, out: int, _: int, terms: Sequence[native.TermArgs]) -> Work:
    """Each value and each gradient is read once; two sums are made of them."""
    values = len({term.x for term in terms}) + len({term.gradient for term in terms})
    return Work("sums of nodes", values * out, 4 * len(terms) * out)


def _pool(backward: bool, read: int, out: int, _: int, pools: Sequence[native.PoolArgs]) -> Work:
    """Backward, the gradient in the image is read and written, beside the image and what forward wrote."""
    numbers = sum(3 * read + (1 + pool.count) * out if backward else read + out for pool in pools)
    return Work("pooling", numbers, WINDOW * out * len(pools))


def _mix(
    backward: bool, read: int, out: int, channels: int, parts: Sequence[native.PartArgs], mixed: native.MixedArgs
) -> Work:
    """Of each part the pixels that are used are read, the outputs written; backward also their gradients."""
    pixels = out // channels
    in_x = sum(part.ins for part in parts if part.in_x is not None)
    numbers = sum(part.ins for part in parts) + in_x + (1 + backward) * channels
    operations = sum(
        2 * part.ins * part.outs * ((part.in_x is not None) + (part.in_weight is not None) if backward else 1)
        for part in parts
    )
    return Work("convolution, pointwise", pixels * numbers, pixels * operations)


_LOOPS: Mapping[str, Callable[..., Work]] = {
    "convolutions_forward": partial(_convolutions, False),
    "convolutions_backward": partial(_convolutions, True),
    "sum_terms": _sum_terms,
    "term_gradients": _term_gradients,
    "pool_forward": partial(_pool, False),
    "pool_backward": partial(_pool, True),
    "mix_forward": partial(_mix, False),
    "mix_backward": partial(_mix, True),
}
