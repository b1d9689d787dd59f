"""The nine calls of the compiled loops, and the structures that they read, as `csrc/arguments.h` declares them."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_long, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from archselect.kernels.cpu.build import TYPES, lanes, library

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
        ("gradients", POINTER(c_void_p)),
        ("a", POINTER(c_void_p)),
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


def channels_last(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` in the memory format that everything here expects."""
    return x.contiguous(memory_format=torch.channels_last)


def empty(size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return uninitialised images `(B, C, H, W)` in channels_last."""
    return torch.empty(size, dtype=dtype, memory_format=torch.channels_last)


def address(tensor: Tensor, offset: int) -> int:
    """Return the address of a number of a contiguous tensor."""
    return tensor.data_ptr() + offset * tensor.element_size()


@dataclass(frozen=True)
class Running:
    """Running statistics of a batch normalisation, `(C,)` each, moved in place."""

    mean: Tensor
    variance: Tensor


class NormMode(NamedTuple):
    """How batch normalisations treat a batch.

    Attributes:
        training: Whether they take its statistics or the running ones.
        momentum: Of the running statistics.
        eps: Added to variances.
    """

    training: bool
    momentum: float
    eps: float


GRAIN = 8192
"""Numbers that a thread works on at least: waking one for fewer takes longer than what it would save."""


class NativeLoops:
    """The loops for images of one shape.

    Args:
        size: `(B, C, H, W)` of the images that operations read.
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
        self.in_shape = Shape(threads, images, height, width, channels, stride)
        self.out_shape = Shape(threads, images, -(-height // stride), -(-width // stride), channels, 1)
        self._norm = Norm(momentum=batch.momentum, eps=batch.eps, training=batch.training)

    def convolutions_forward(self, convolutions: Sequence[ConvolutionArgs], first: bool) -> None:
        """Evaluate convolutions: `first` those that read x, otherwise those that read what those gave."""
        self._check_batch(normalises=bool(convolutions))
        self._call("convolutions_forward", self.in_shape if first else self.out_shape, convolutions)

    def convolutions_backward(self, convolutions: Sequence[ConvolutionArgs], first: bool) -> None:
        """Compute the gradients of `convolutions_forward`."""
        self._call("convolutions_backward", self.in_shape if first else self.out_shape, convolutions)

    def sum_terms(self, terms: Sequence[TermArgs], out: Tensor, add: bool) -> None:
        """Set `out`, of the size of the outputs, to a sum of terms, or add it."""
        if not (terms or add):
            out.zero_()
        self._call("sum_terms", self.out_shape, terms, out.data_ptr(), add)

    def term_gradients(self, terms: Sequence[TermArgs]) -> None:
        """Compute what terms make of the gradients in their sums."""
        self._call("term_gradients", self.out_shape, terms)

    def norm_gradients(self, norms: Sequence[NormArgs]) -> None:
        """Compute the coefficients of gradients through normalisations of outputs."""
        self._call("norm_gradients", self.out_shape, norms)

    def pool_forward(self, pools: Sequence[PoolArgs]) -> None:
        """Pool x."""
        self._check_batch(normalises=any(pool.mean for pool in pools))
        self._call("pool_forward", self.in_shape, pools)

    def pool_backward(self, pools: Sequence[PoolArgs]) -> None:
        """Add the gradients of `pool_forward`."""
        self._call("pool_backward", self.in_shape, pools)

    def mix_forward(self, parts: Sequence[PartArgs], mixed: MixedArgs) -> None:
        """Set the sum of all parts, normalised."""
        self._check_batch(normalises=True)
        self._call("mix_forward", self.in_shape, parts, mixed)

    def mix_backward(self, parts: Sequence[PartArgs], mixed: MixedArgs) -> None:
        """Compute the gradients of `mix_forward`."""
        self._call("mix_backward", self.in_shape, parts, mixed)

    def _check_batch(self, normalises: bool) -> None:
        """Raise a ValueError, as PyTorch does, if a normalisation would take statistics of one value per channel."""
        shape = self.out_shape
        if normalises and self._norm.training and shape.images * shape.height * shape.width == 1:
            raise ValueError("Expected more than 1 value per channel when training; got one image of one pixel.")

    def _call(self, name: str, shape: Shape, structures: Sequence[Structure], *more: Any) -> None:
        if structures:
            packed = (type(structures[0]) * len(structures))(*structures)
            if getattr(self._library, name)(shape, self._norm, len(structures), packed, *more):
                raise MemoryError("The machine has no memory left for the images of a batch. Use a smaller batch_size.")


def native_loops(
    size: torch.Size, dtype: torch.dtype, stride: int, batch: NormMode, divisor: int | None = None
) -> NativeLoops:
    """Return the loops for images of this size, with as many threads as PyTorch has; see `NativeLoops`."""
    return _native_loops(size, dtype, stride, batch, torch.get_num_threads(), divisor or size[1])


_native_loops = lru_cache(maxsize=1024)(NativeLoops)
