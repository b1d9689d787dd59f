"""Images as the loops read them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` in the memory format that everything here expects."""
    return x.contiguous(memory_format=torch.channels_last)


def empty(size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return uninitialised images `(B, C, H, W)` in channels_last."""
    return torch.empty(size, dtype=dtype, memory_format=torch.channels_last)


def at(tensor: Tensor, offset: int) -> int:
    """Return the address of a number of a contiguous tensor."""
    return tensor.data_ptr() + offset * tensor.element_size()
