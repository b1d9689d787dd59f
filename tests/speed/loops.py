"""What a call of the compiled loops needs at least, for the profiler, which does not see into them.

The numbers are those of the images, each read or written once; weights and statistics are small beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from torch.profiler import record_function

from archselect.kernels.cpu.native import ConvolutionArgs, MixedArgs, NativeLoops, PartArgs, PoolArgs, TermArgs

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
        if arguments[0]:  # of nothing there is no work
            with record_function(recorded_name(needs(loops, *arguments, **named))):
                call(loops, *arguments, **named)

    return recorded_call


def _sizes(loops: NativeLoops, first: bool = True) -> tuple[int, int, int]:
    """Return the numbers of images that are read, the pixels of those that come out, and the channels."""
    read, out = loops.in_shape, loops.out_shape
    pixels = out.images * out.height * out.width
    return (read.images * read.height * read.width if first else pixels) * read.channels, pixels, read.channels


def _kind(convolutions: Sequence[ConvolutionArgs]) -> Kind:
    return "convolution, separable" if convolutions[0].depthwise else "convolution, dense"


def _multiplications(args: ConvolutionArgs, pixels: int, channels: int) -> int:
    return pixels * channels * (args.kernel**2 + channels if args.depthwise else args.kernel**2 * channels)


def convolutions_forward(loops: NativeLoops, convolutions: Sequence[ConvolutionArgs], first: bool) -> Work:
    """Each x is read, each z written."""
    read, pixels, channels = _sizes(loops, first)
    numbers = len({args.x for args in convolutions}) * read + len(convolutions) * pixels * channels
    return Work(
        _kind(convolutions), numbers, sum(2 * _multiplications(args, pixels, channels) for args in convolutions)
    )


def convolutions_backward(loops: NativeLoops, convolutions: Sequence[ConvolutionArgs], first: bool) -> Work:
    """Each gradient, z and x is read, each gradient in x written; a gradient costs what the convolution does."""
    read, pixels, channels = _sizes(loops, first)
    in_x, in_weights = convolutions[0].in_x is not None, convolutions[0].in_mixing is not None
    images = (1 + in_x) * len({args.x for args in convolutions})
    numbers = images * read + 2 * len(convolutions) * pixels * channels
    operations = sum(2 * (in_x + in_weights) * _multiplications(args, pixels, channels) for args in convolutions)
    return Work(_kind(convolutions), numbers, operations)


def sum_terms(loops: NativeLoops, terms: Sequence[TermArgs], out: Any, add: bool) -> Work:
    """Each value is read once, the sum written and, if it is added to, read."""
    _, pixels, channels = _sizes(loops)
    size = pixels * channels
    return Work("sums of nodes", (len({args.x for args in terms}) + 1 + add) * size, 2 * len(terms) * size)


def term_gradients(loops: NativeLoops, terms: Sequence[TermArgs]) -> Work:
    """Each value and each gradient is read once; two sums are made of them."""
    _, pixels, channels = _sizes(loops)
    read = len({args.x for args in terms}) + len({args.gradient for args in terms})
    return Work("sums of nodes", read * pixels * channels, 4 * len(terms) * pixels * channels)


def pool_forward(loops: NativeLoops, pools: Sequence[PoolArgs]) -> Work:
    """The image is read, the pooled one written."""
    read, pixels, channels = _sizes(loops)
    return Work("pooling", len(pools) * (read + pixels * channels), len(pools) * WINDOW * pixels * channels)


def pool_backward(loops: NativeLoops, pools: Sequence[PoolArgs]) -> Work:
    """Image, pooled image and gradients are read, the gradient in the image is read and written."""
    read, pixels, channels = _sizes(loops)
    numbers = sum(3 * read + (1 + args.count) * pixels * channels for args in pools)
    return Work("pooling", numbers, len(pools) * WINDOW * pixels * channels)


def mix_forward(loops: NativeLoops, parts: Sequence[PartArgs], mixed: MixedArgs) -> Work:
    """Of each part the pixels that are used are read, the outputs written."""
    _, pixels, channels = _sizes(loops)
    numbers = pixels * (sum(args.ins for args in parts) + channels)
    return Work("convolution, pointwise", numbers, sum(2 * pixels * args.ins * args.outs for args in parts))


def mix_backward(loops: NativeLoops, parts: Sequence[PartArgs], mixed: MixedArgs) -> Work:
    """The parts are read and their gradients written, the outputs and their gradient read."""
    _, pixels, channels = _sizes(loops)
    numbers = pixels * (sum((1 + (args.in_x is not None)) * args.ins for args in parts) + 2 * channels)
    wanted = [
        2 * pixels * args.ins * args.outs * ((args.in_x is not None) + (args.in_weight is not None)) for args in parts
    ]
    return Work("convolution, pointwise", numbers, sum(wanted))


_NEEDS: dict[str, Callable[..., Work]] = {
    needs.__name__: needs
    for needs in (
        *(convolutions_forward, convolutions_backward, sum_terms, term_gradients),
        *(pool_forward, pool_backward, mix_forward, mix_backward),
    )
}
