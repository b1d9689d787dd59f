"""What an operator needs at least: PyTorch's from its name and the shapes of its inputs, a recorded one as it says.

Every tensor is read or written once. Operators that only arrange others (`conv2d`, `matmul`, `clone`) and those that
only make views are not here.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal, NamedTuple, cast

import torch

Shape = Sequence[int]
Kind = Literal[
    "convolution, separable",
    "convolution, depthwise",
    "convolution, pointwise",
    "convolution, dense",
    "batched products",
    "matrix products",
    "batch normalisation",
    "sums of nodes",
    "elementwise",
    "reductions",
    "pooling",
    "copies",
]


class Work(NamedTuple):
    """A kind of work, the numbers that it reads and writes, and its floating point operations."""

    kind: Kind
    numbers: int
    operations: int


LOOPS = "loops"


def recorded_name(work: Work) -> str:
    """Return the name of an operator that needs this work, from which `work_of` reads it."""
    return f"{LOOPS}::{work.kind}|{work.numbers}|{work.operations}"


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
        return Work(cast(Kind, kind), int(numbers), int(operations))
    if namespace != "aten" or not shapes:
        return None
    if operator in _OPERATORS:
        return _OPERATORS[operator](shapes, values)
    operator = operator.removesuffix("_")
    if operator in _ELEMENTWISE:
        return _elementwise(shapes[: _ELEMENTWISE[operator]])
    if operator in _PRODUCTS:
        return _product(shapes[: _PRODUCTS[operator]])
    if operator in _REDUCTIONS:
        read = _numbers(*shapes[: _REDUCTIONS[operator]])
        return Work("reductions", read, read)
    if operator in _COPIES:
        return Work("copies", _COPIES[operator] * _numbers(shapes[0]), 0)
    return None


_ELEMENTWISE = {
    **dict.fromkeys(("relu", "clamp", "clamp_min", "neg", "sqrt", "rsqrt", "exp", "log", "pow", "reciprocal"), 1),
    **dict.fromkeys(("abs", "sign", "bitwise_not", "logical_not", "native_dropout", "_softmax", "_log_softmax"), 1),
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "maximum", "minimum", "eq", "ne", "gt", "ge", "lt", "le"), 2),
    **dict.fromkeys(("threshold_backward", "masked_fill", "_softmax_backward_data"), 2),
    **dict.fromkeys(("bitwise_and", "logical_and", "_log_softmax_backward_data"), 2),
    **dict.fromkeys(("addcmul", "addcdiv", "where"), 3),
    "lerp": 2,
}
"""How many of the first arguments are read; an element costs at least one operation per pair of them, or one."""

_PRODUCTS = {"mm": 2, "bmm": 2, "mv": 2, "addmm": 3, "baddbmm": 3, "addmv": 3, "addbmm": 3}
"""How many arguments are read; the last two are multiplied."""

_REDUCTIONS = {"sum": 1, "mean": 1, "amax": 1, "amin": 1, "var": 1, "var_mean": 1, "argmax": 1, "dot": 2, "vdot": 2}
"""How many arguments are read."""

_COPIES = {"copy": 2, "fill": 1, "zero": 1, "constant_pad_nd": 2, "flip": 2, "roll": 2}
"""How often the first argument is read or written."""


def _numbers(*shapes: Shape) -> int:
    return sum(prod(shape) for shape in shapes if shape)


def _elementwise(shapes: Sequence[Shape]) -> Work:
    written = prod(torch.broadcast_shapes(*shapes))
    return Work("elementwise", _numbers(*shapes) + written, max(1, len(shapes) - 1) * written)


def _product(shapes: Sequence[Shape]) -> Work:
    *_, left, right = shapes
    written = prod(left[:-1]) * (right[-1] if len(right) > 1 else 1)
    kind: Kind = "batched products" if len(left) > 2 else "matrix products"
    return Work(kind, _numbers(*shapes) + written, 2 * written * left[-1])


def _concatenation(shapes: Sequence[Any], _: Sequence[Any]) -> Work:
    """The shapes of a list are a list of shapes; older versions of PyTorch do not record them."""
    parts = shapes[0] if shapes[0] and not isinstance(shapes[0][0], int) else []
    return Work("copies", 2 * _numbers(*parts), 0)


def _convolution(shapes: Sequence[Shape], values: Sequence[Any]) -> Work:
    x, weight = shapes[:2]
    stride, padding, dilation = values[3:6]
    size = [
        (side + 2 * pad - dilate * (kernel - 1) - 1) // step + 1
        for side, pad, dilate, kernel, step in zip(x[2:], padding, dilation, weight[2:], stride, strict=True)
    ]
    out = [x[0], weight[0], *size]
    return Work(_convolution_kind(weight), _numbers(x, weight, out), _convolution_operations(out, weight))


def _convolution_backward(shapes: Sequence[Shape], values: Sequence[Any]) -> Work:
    """The gradient in the input reads the weight, the one in the weight reads the input; both that in the output."""
    out, x, weight = shapes[:3]
    in_x, in_weight, _ = values[10]
    wanted = bool(in_x) + bool(in_weight)
    return Work(
        _convolution_kind(weight),
        _numbers(out) + wanted * _numbers(x, weight),
        wanted * _convolution_operations(out, weight),
    )


def _convolution_kind(weight: Shape) -> Kind:
    if all(side == 1 for side in weight[2:]):
        return "convolution, pointwise"
    return "convolution, depthwise" if weight[1] == 1 else "convolution, dense"


def _convolution_operations(out: Shape, weight: Shape) -> int:
    return 2 * prod(out) * prod(weight[1:])


def _normalisation(numbers: int, operations: int, of: int = 0) -> Callable[[Sequence[Shape], Sequence[Any]], Work]:
    """Numbers and operations are per element of argument `of`."""
    return lambda shapes, _: Work("batch normalisation", numbers * prod(shapes[of]), operations * prod(shapes[of]))


def _pooling(window: int) -> Callable[[Sequence[Shape], Sequence[Any]], Work]:
    """The window is argument `window`; before it comes the larger image. An element of the smaller costs the window."""

    def work(shapes: Sequence[Shape], values: Sequence[Any]) -> Work:
        large = prod(shapes[window - 1])
        small = large // prod(values[window + 1] or values[window])
        return Work("pooling", large + small, small * prod(values[window]))

    return work


_OPERATORS: dict[str, Callable[[Sequence[Any], Sequence[Any]], Work]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "batch_norm": _normalisation(2, 5),
    "native_batch_norm_backward": _normalisation(3, 8),
    "cudnn_batch_norm_backward": _normalisation(3, 8),
    "batch_norm_backward": _normalisation(3, 8),
    "max_pool2d_with_indices": _pooling(1),
    "avg_pool2d": _pooling(1),
    "max_pool2d_with_indices_backward": _pooling(2),
    "avg_pool2d_backward": _pooling(2),
    "cat": _concatenation,
}
