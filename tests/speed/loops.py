"""What a call of the compiled loops needs at least, for the profiler, which does not see into them.

The numbers are those of the images, each read or written once; weights and statistics are small beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from torch.profiler import record_function

from archselect.kernels.cpu.native import FIELDS, NativeLoops

from .work import Kind, Work, recorded_name

WINDOW = 9  # of a pooling


@contextmanager
def recorded() -> Iterator[None]:
    """Let the profiler see each call of the loops as an operator with the work that it needs."""
    with ExitStack() as stack:
        for name, needs in _NEEDS.items():
            stack.enter_context(mock.patch.object(NativeLoops, name, _recorded(getattr(NativeLoops, name), needs)))
        yield


def _recorded(call: Callable[..., None], needs: Callable[..., Work]) -> Callable[..., None]:
    def recorded_call(loops: NativeLoops, *arguments: Any, **named: Any) -> None:
        with record_function(recorded_name(needs(loops, *arguments, **named))):
            call(loops, *arguments, **named)

    return recorded_call


def _sizes(loops: NativeLoops, first: bool = True) -> tuple[int, int, int]:
    """Return the numbers of images that are read, the pixels of those that come out, and the channels."""
    _, images, height, width, channels, stride = loops._shape
    pixels = images * -(-height // stride) * -(-width // stride)
    return (images * height * width if first else pixels) * channels, pixels, channels


def _table(rows: Sequence[int], structure: str) -> list[Sequence[int]]:
    fields = FIELDS[structure]
    return [rows[start : start + fields] for start in range(0, len(rows), fields)]


def _of_convolutions(rows: Sequence[int]) -> tuple[list[Sequence[int]], Kind]:
    table = _table(rows, "convolution")
    return table, "convolution, separable" if table[0][6] else "convolution, dense"


def _multiplications(row: Sequence[int], pixels: int, channels: int) -> int:
    kernel, separable = row[4], row[6]
    return pixels * channels * (kernel**2 + channels if separable else kernel**2 * channels)


def convolutions_forward(loops: NativeLoops, rows: Sequence[int], first: bool) -> Work:
    """Each x is read, each z written."""
    table, kind = _of_convolutions(rows)
    read, pixels, channels = _sizes(loops, first)
    numbers = len({row[0] for row in table}) * read + len(table) * pixels * channels
    return Work(kind, numbers, sum(2 * _multiplications(row, pixels, channels) for row in table))


def convolutions_backward(loops: NativeLoops, rows: Sequence[int], first: bool) -> Work:
    """Each gradient, z and x is read, each gradient in x written; a gradient costs what the convolution does."""
    table, kind = _of_convolutions(rows)
    read, pixels, channels = _sizes(loops, first)
    wanted = (table[0][17] > 0) + (table[0][21] > 0)
    images = (1 + (table[0][17] > 0)) * len({row[0] for row in table})
    numbers = images * read + 2 * len(table) * pixels * channels
    return Work(kind, numbers, sum(2 * wanted * _multiplications(row, pixels, channels) for row in table))


def sum_terms(loops: NativeLoops, rows: Sequence[int], out: Any, add: bool) -> Work:
    """Each value is read once, the sum written and, if it is added to, read."""
    values = {row[0] for row in _table(rows, "term")}
    _, pixels, channels = _sizes(loops)
    size = pixels * channels
    return Work("sums of nodes", (len(values) + 1 + add) * size, 2 * len(_table(rows, "term")) * size)


def term_gradients(loops: NativeLoops, rows: Sequence[int]) -> Work:
    """Each value and each gradient is read once; two sums are made of them."""
    table = _table(rows, "term")
    _, pixels, channels = _sizes(loops)
    read = len({row[0] for row in table}) + len({row[6] for row in table})
    return Work("sums of nodes", read * pixels * channels, 4 * len(table) * pixels * channels)


def pool_forward(loops: NativeLoops, row: Sequence[int]) -> Work:
    """The image is read, the pooled one written."""
    read, pixels, channels = _sizes(loops)
    return Work("pooling", read + pixels * channels, WINDOW * pixels * channels)


def pool_backward(loops: NativeLoops, row: Sequence[int]) -> Work:
    """Image, pooled image and gradients are read, the gradient in the image is read and written."""
    read, pixels, channels = _sizes(loops)
    return Work("pooling", 3 * read + (1 + row[7]) * pixels * channels, WINDOW * pixels * channels)


def mix_forward(loops: NativeLoops, parts: Sequence[int], mixed: Sequence[int]) -> Work:
    """Of each part the pixels that are used are read, the outputs written."""
    table = _table(parts, "part")
    _, pixels, channels = _sizes(loops)
    numbers = pixels * (sum(row[3] for row in table) + channels)
    return Work("convolution, pointwise", numbers, sum(2 * pixels * row[3] * row[4] for row in table))


def mix_backward(loops: NativeLoops, parts: Sequence[int], mixed: Sequence[int]) -> Work:
    """The parts are read and their gradients written, the outputs and their gradient read."""
    table = _table(parts, "part")
    _, pixels, channels = _sizes(loops)
    numbers = pixels * (sum((1 + (row[8] > 0)) * row[3] for row in table) + 2 * channels)
    wanted = [2 * pixels * row[3] * row[4] * ((row[8] > 0) + (row[9] > 0)) for row in table]
    return Work("convolution, pointwise", numbers, sum(wanted))


_NEEDS: dict[str, Callable[..., Work]] = {
    needs.__name__: needs
    for needs in (
        *(convolutions_forward, convolutions_backward, sum_terms, term_gradients),
        *(pool_forward, pool_backward, mix_forward, mix_backward),
    )
}
