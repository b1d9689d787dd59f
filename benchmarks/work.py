"""What an operator needs at least: one of PyTorch from its name and shapes, a call of the compiled loops from its rows.

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

from archselect.kernels.cpu.native import FIELDS, NativeLoops

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
    with ExitStack() as stack:
        for name, needs in _LOOPS.items():
            stack.enter_context(mock.patch.object(NativeLoops, name, _recorded(getattr(NativeLoops, name), needs)))
        yield


def _recorded(call: Callable[..., None], needs: Callable[..., Work]) -> Callable[..., None]:
    def recorded_call(loops: NativeLoops, *arguments: Any, **named: Any) -> None:
        kind, numbers, operations = needs(loops, *arguments, **named)
        with record_function(f"{LOOPS}::{kind}|{numbers}|{operations}"):
            call(loops, *arguments, **named)

    return recorded_call


def _sizes(loops: NativeLoops, first: bool = True) -> tuple[int, int, int]:
    """Return the numbers of images that are read, those of one that comes out, and the channels."""
    _, images, height, width, channels, stride = loops._shape
    out = images * -(-height // stride) * -(-width // stride) * channels
    return (images * height * width * channels if first else out), out, channels


def _table(rows: Sequence[int], structure: str) -> list[Sequence[int]]:
    fields = FIELDS[structure]
    return [rows[start : start + fields] for start in range(0, len(rows), fields)]


def _convolutions(backward: bool, loops: NativeLoops, rows: Sequence[int], first: bool) -> Work:
    """Forward, each x is read, each z written; a gradient reads both and z's, writes x's, and costs what z does."""
    (read, out, channels), table = _sizes(loops, first), _table(rows, "convolution")
    read *= len({row[0] for row in table})
    kind = "convolution, separable" if table[0][6] else "convolution, dense"
    products = sum(row[4] ** 2 + channels if row[6] else row[4] ** 2 * channels for row in table)
    if not backward:
        return Work(kind, read + len(table) * out, 2 * out * products)
    in_x, in_weights = table[0][17] > 0, table[0][21] > 0
    return Work(kind, (1 + in_x) * read + 2 * len(table) * out, (in_x + in_weights) * 2 * out * products)


def _sum_terms(loops: NativeLoops, rows: Sequence[int], out: Any, add: bool) -> Work:
    """Each value is read once, the sum written and, if it is added to, read."""
    table, (_, size, _) = _table(rows, "term"), _sizes(loops)
    return Work("sums of nodes", (len({row[0] for row in table}) + 1 + add) * size, 2 * len(table) * size)


def _term_gradients(loops: NativeLoops, rows: Sequence[int]) -> Work:
    """Each value and each gradient is read once; two sums are made of them."""
    table, (_, size, _) = _table(rows, "term"), _sizes(loops)
    read = len({row[0] for row in table}) + len({row[6] for row in table})
    return Work("sums of nodes", read * size, 4 * len(table) * size)


def _pool(backward: bool, loops: NativeLoops, row: Sequence[int]) -> Work:
    """Backward, the gradient in the image is read and written, beside the image and what forward wrote."""
    read, out, _ = _sizes(loops)
    return Work("pooling", 3 * read + (1 + row[7]) * out if backward else read + out, WINDOW * out)


def _mix(backward: bool, loops: NativeLoops, parts: Sequence[int], mixed: Sequence[int]) -> Work:
    """Of each part the pixels that are used are read, the outputs written; backward also their gradients."""
    table, (_, out, channels) = _table(parts, "part"), _sizes(loops)
    pixels = out // channels
    gradients = [(row[8] > 0) + (row[9] > 0) if backward else 1 for row in table]
    numbers = sum((1 + (backward and row[8] > 0)) * row[3] for row in table) + (1 + backward) * channels
    operations = sum(2 * row[3] * row[4] * wanted for row, wanted in zip(table, gradients, strict=True))
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
