"""Calls of the compiled loops: what the C structures hold, packed as rows of 8-byte numbers and addresses."""

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_long
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from archselect.kernels.cpu.build import TYPES, lanes, library


def channels_last(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` in the memory format that everything here expects."""
    return x.contiguous(memory_format=torch.channels_last)


def empty(size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return uninitialised images `(B, C, H, W)` in channels_last."""
    return torch.empty(size, dtype=dtype, memory_format=torch.channels_last)


def at(tensor: Tensor, offset: int) -> int:
    """Return the address of a number of a contiguous tensor."""
    return tensor.data_ptr() + offset * tensor.element_size()


@dataclass(frozen=True)
class Running:
    """Running statistics of a batch normalisation, `(C,)` each, moved in place."""

    mean: Tensor
    variance: Tensor


def is_available(x: Tensor) -> bool:
    """Return whether the loops take images `(B, C, H, W)` on the CPU of this kind."""
    return x.dtype in TYPES and library(x.dtype, lanes(x.shape[1], x.dtype)) is not None


GRAIN = 8192
"""Numbers that a thread works on at least: waking one for fewer takes longer than what it would save."""


@dataclass(frozen=True)
class NormMode:
    """How batch normalisations treat a batch.

    Attributes:
        training: Whether they take its statistics or the running ones.
        momentum: Of the running statistics.
        eps: Added to variances.
    """

    training: bool
    momentum: float
    eps: float


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
        found = library(dtype, lanes(divisor, dtype))
        assert found is not None, "asked for without `is_available`"
        self._library = found
        threads = max(1, min(threads, images, images * channels * height * width // GRAIN))
        self._shape = (c_long * 6)(threads, images, height, width, channels, stride)
        self._out_shape = (c_long * 6)(threads, images, -(-height // stride), -(-width // stride), channels, 1)
        self._norm = _norm(dtype)(batch.momentum, batch.eps, batch.training)
        self._training = c_long(batch.training)

    def check_batch(self) -> None:
        """Raise a ValueError, as PyTorch does, if a normalisation would take statistics of one value per channel."""
        _, images, height, width, _, _ = self._out_shape
        if self._training.value and images * height * width == 1:
            raise ValueError("Expected more than 1 value per channel when training; got one image of one pixel.")

    def convolutions_forward(self, rows: Sequence[int], first: bool) -> None:
        """Evaluate convolutions: `first` those that read x, otherwise those that read what those gave."""
        self.check_batch()
        shape = self._shape if first else self._out_shape
        count, packed = _pack(rows, "convolution")
        _check(self._library.convolutions_forward(shape, ctypes.byref(self._norm), count, packed))

    def convolutions_backward(self, rows: Sequence[int], first: bool) -> None:
        """Compute the gradients of `convolutions_forward`."""
        shape = self._shape if first else self._out_shape
        _check(self._library.convolutions_backward(shape, *_pack(rows, "convolution")))

    def sum_terms(self, rows: Sequence[int], out: Tensor, add: bool) -> None:
        """Set `out`, of the size of the outputs, to a sum of terms, or add it."""
        address = ctypes.c_void_p(out.data_ptr())
        _check(self._library.sum_terms(self._out_shape, *_pack(rows, "term"), address, c_long(add)))

    def term_gradients(self, rows: Sequence[int]) -> None:
        """Compute what terms make of the gradients in their sums."""
        _check(self._library.term_gradients(self._out_shape, self._training, *_pack(rows, "term")))

    def norm_gradients(self, count: int, *tensors: Tensor | None) -> None:
        """Compute the coefficients of gradients through normalisations, `(count, C)` each."""
        addresses = (ctypes.c_void_p(0 if tensor is None else tensor.data_ptr()) for tensor in tensors)
        self._library.norm_gradients(self._out_shape, self._training, c_long(count), *addresses)

    def pool_forward(self, row: Sequence[int]) -> None:
        """Pool x."""
        _, packed = _pack(row, "pooling")
        _check(self._library.pool_forward(self._shape, ctypes.byref(self._norm), packed))

    def pool_backward(self, row: Sequence[int]) -> None:
        """Add the gradient of `pool_forward`."""
        _, packed = _pack(row, "pooling")
        _check(self._library.pool_backward(self._shape, packed))

    def mix_forward(self, parts: Sequence[int], mixed: Sequence[int]) -> None:
        """Set the sum of all parts, normalised."""
        self.check_batch()
        out = addresses(mixed)
        _check(self._library.mix_forward(self._shape, ctypes.byref(self._norm), *_pack(parts, "part"), out))

    def mix_backward(self, parts: Sequence[int], mixed: Sequence[int]) -> None:
        """Compute the gradients of `mix_forward`."""
        out = addresses(mixed)
        _check(self._library.mix_backward(self._shape, self._training, *_pack(parts, "part"), out))


FIELDS = {"convolution": 22, "term": 13, "pooling": 13, "part": 10}
"""How many fields the structures in `convolutions.c`, `terms.c`, `pooling.c` and `mixing.c` have."""


def native_loops(
    size: torch.Size, dtype: torch.dtype, stride: int, batch: NormMode, divisor: int | None = None
) -> NativeLoops:
    """Return the loops for images of this size, with as many threads as PyTorch has; see `NativeLoops`."""
    return _native_loops(size, dtype, stride, batch, torch.get_num_threads(), divisor or size[1])


@lru_cache(maxsize=1024)
def _native_loops(
    size: torch.Size, dtype: torch.dtype, stride: int, batch: NormMode, threads: int, divisor: int
) -> NativeLoops:
    return NativeLoops(size, dtype, stride, batch, threads, divisor)


def addresses(numbers: Sequence[int]) -> "ctypes.Array[c_long]":
    """Return an array of addresses; keep it until it was read."""
    return (c_long * len(numbers))(*numbers)


def _pack(rows: Sequence[int], structure: str) -> tuple[c_long, "ctypes.Array[c_long]"]:
    count, rest = divmod(len(rows), FIELDS[structure])
    assert rest == 0, f"a {structure} has {FIELDS[structure]} fields"
    return c_long(count), addresses(rows)


@lru_cache
def _norm(dtype: torch.dtype) -> type[ctypes.Structure]:
    real = c_float if dtype == torch.float32 else c_double

    class Norm(ctypes.Structure):
        _fields_ = (("momentum", real), ("eps", real), ("training", c_long))

    return Norm


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("The machine has no memory left for the images of a batch. Use a smaller batch_size.")
