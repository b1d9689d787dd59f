"""The nine calls of the compiled loops, and the structures that they read, as `csrc/arguments.h` declares them."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_long, c_void_p
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from archselect.kernels.cpu.build import TYPES, lanes, library
from archselect.kernels.interface import NormMode

Fields = list[tuple[str, type[Any]]]


def _longs(names: str) -> Fields:
    return [(name, c_long) for name in names.split()]


def _pointers(names: str) -> Fields:
    return [(name, c_void_p) for name in names.split()]


class Shape(Structure):
    """See `csrc/arguments.h`, as of the others: a field that is not given is 0 or NULL."""

    _fields_ = _longs("threads images height width channels stride")


class Norm(Structure):
    """How batch normalisations treat a batch."""

    _fields_ = [("momentum", c_double), ("eps", c_double), ("training", c_long)]


class ConvolutionArgs(Structure):
    """A convolution with what its normalisation gathers, and its gradients."""

    _fields_ = [
        *_pointers("x x_mean x_scale x_shift"),
        *_longs("kernel dilation"),
        *_pointers("depthwise mixing z mean rstd running_mean running_variance"),
        *_pointers("gradient a b c in_x in_sum in_product in_depthwise in_mixing"),
    ]


class TermArgs(Structure):
    """A summand of a node, and its gradients."""

    _fields_ = _pointers("x weight mean rstd gamma beta gradient a b c in_weight in_gamma in_beta")


class NormArgs(Structure):
    """The coefficients of the gradient through a normalisation, and what they are made of."""

    _fields_ = _pointers("sum product mean rstd gamma a b c")


class PoolArgs(Structure):
    """A pooling with what its normalisation gathers, and its gradient."""

    _fields_ = [
        *_longs("maximum"),
        *_pointers("x out mean rstd running_mean running_variance"),
        *_longs("count"),
        *((name, POINTER(c_void_p)) for name in ("gradients", "a")),
        *_pointers("b c in_x"),
    ]


class PartArgs(Structure):
    """What a mixture makes of one image, and its gradients."""

    _fields_ = [*_pointers("x weight"), *_longs("weight_step ins outs first out add"), *_pointers("in_x in_weight")]


class MixedArgs(Structure):
    """A mixture, what its normalisation gathers, and the gradient in it."""

    _fields_ = _pointers("out mean rstd running_mean running_variance gradient")


STRUCTURES = (Shape, Norm, ConvolutionArgs, TermArgs, NormArgs, PoolArgs, PartArgs, MixedArgs)
"""In the order of `struct_sizes` in `csrc/arguments.c`."""

CALLS: dict[str, tuple[Any, ...]] = {
    "convolutions_forward": (POINTER(ConvolutionArgs),),
    "convolutions_backward": (POINTER(ConvolutionArgs),),
    "sum_terms": (POINTER(TermArgs), c_void_p, c_long),
    "term_gradients": (POINTER(TermArgs),),
    "norm_gradients": (POINTER(NormArgs),),
    "pool_forward": (POINTER(PoolArgs),),
    "pool_backward": (POINTER(PoolArgs),),
    "mix_forward": (POINTER(PartArgs), POINTER(MixedArgs)),
    "mix_backward": (POINTER(PartArgs), POINTER(MixedArgs)),
}
"""What each call takes after the shape, the norm and the number of structures."""


@lru_cache
def _library(dtype: torch.dtype, width: int) -> ctypes.CDLL:
    """Return the compiled loops, once it is sure that they and this file mean the same structures."""
    found = library(dtype, width)
    assert found is not None, "asked for without `is_available`"
    theirs = list((c_long * len(STRUCTURES)).in_dll(found, "struct_sizes"))
    ours = [ctypes.sizeof(structure) for structure in STRUCTURES]
    if ours != theirs:
        raise RuntimeError(f"csrc/arguments.h has structures of {theirs} bytes, native.py of {ours}: make them equal.")
    for name, arguments in CALLS.items():
        getattr(found, name).argtypes = (POINTER(Shape), POINTER(Norm), c_long, *arguments)
    return found


def is_available(x: Tensor) -> bool:
    """Return whether the loops take images `(B, C, H, W)` on the CPU of this kind."""
    return x.dtype in TYPES and library(x.dtype, lanes(x.shape[1], x.dtype)) is not None


def is_plain(x: Tensor | None) -> bool:
    """Return whether `x` is memory of numbers on the CPU: no subclass, such as a fake tensor, and no lazy negation."""
    return x is None or (type(x) in (nn.Parameter, Tensor) and x.is_cpu and not x.is_neg())


def channels_last(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` in the memory format that everything here expects."""
    return x.contiguous(memory_format=torch.channels_last)


def empty(size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return uninitialised images `(B, C, H, W)` in channels_last."""
    return torch.empty(size, dtype=dtype, memory_format=torch.channels_last)


def address(tensor: Tensor | None, index: int = 0) -> int | None:
    """Return the address of `tensor[index]`; NULL for None."""
    return None if tensor is None else tensor.data_ptr() + index * tensor.stride(0) * tensor.element_size()


GRAIN = 8192
"""Numbers that a thread works on at least: waking one for fewer takes longer than what it would save."""


class NativeLoops:
    """The loops for images of one shape.

    Args:
        size: `(B, C, H, W)` of the images that operations read, whose shape is `inputs`; what they give has `outputs`.
        dtype: Of all tensors.
        stride: Of the operations.
        batch: How to normalise.
        threads: At most so many work, each on `GRAIN` numbers of an image or more.
        divisor: Of all numbers of channels that occur.
    """

    def __init__(
        self, size: Sequence[int], dtype: torch.dtype, stride: int, batch: NormMode, threads: int, divisor: int
    ) -> None:
        images, channels, height, width = size
        threads = max(1, min(threads, images, images * channels * height * width // GRAIN))
        self._library = _library(dtype, lanes(divisor, dtype))
        self.inputs = Shape(threads, images, height, width, channels, stride)
        self.outputs = Shape(threads, images, -(-height // stride), -(-width // stride), channels, 1)
        self._norm = Norm(momentum=batch.momentum, eps=batch.eps, training=batch.training)

    def check_batch(self) -> None:
        """Raise a ValueError, as PyTorch does, if a normalisation would take statistics of one value per channel."""
        if self._norm.training and self.outputs.images * self.outputs.height * self.outputs.width == 1:
            raise ValueError("Expected more than 1 value per channel when training; got one image of one pixel.")

    def call(self, name: str, shape: Shape, structures: Sequence[Structure], *more: Any) -> None:
        """Call one of `CALLS` on structures of its kind, if there are any."""
        if structures:
            packed = (type(structures[0]) * len(structures))(*structures)
            if getattr(self._library, name)(shape, self._norm, len(structures), packed, *more):
                raise MemoryError("The machine has no memory left for the images of a batch. Use a smaller batch_size.")


def native_loops(
    size: torch.Size, dtype: torch.dtype, stride: int, batch: NormMode, divisor: int | None = None
) -> NativeLoops:
    """Return the loops for images of this size, with as many threads as PyTorch has."""
    return _native_loops(size, dtype, stride, batch, torch.get_num_threads(), divisor or size[1])


_native_loops = lru_cache(maxsize=1024)(NativeLoops)
