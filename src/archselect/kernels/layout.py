"""Images as matrices: both directions are views."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` in the memory format that everything here expects."""
    return x.contiguous(memory_format=torch.channels_last)


def pixels(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` in channels_last as a matrix `(B * H * W, C)`."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def blocks(x: Tensor) -> Tensor:
    """Return the pixels of `(B, C, H, W)` as a few matrices `(blocks, pixels, C)`: shorter sums lose fewer digits."""
    flat = pixels(x)
    return flat.view(gcd(x.shape[0], 8), -1, flat.shape[1])


def product(y: Tensor, x: Tensor) -> Tensor:
    """Return `(D, C)`: the channels of `y` `(B, D, H, W)` times those of `x` `(B, C, H, W)`, summed over the pixels."""
    return torch.bmm(blocks(y).transpose(1, 2), blocks(x)).sum(0)


def pointwise(x: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    """Return `matrix x + offset` for `(B, C, H, W)`, `(D, C)` and `(D,)`, in one pass over `x`."""
    return channels_last(F.conv2d(x, matrix[:, :, None, None], offset))  # of one channel it makes contiguous images


def add_pointwise(total: Tensor, x: Tensor, matrix: Tensor) -> None:
    """Add `matrix x` to `total` in place; it raises if `total` is not in channels_last."""
    total.permute(0, 2, 3, 1).view(-1, total.shape[1]).addmm_(pixels(x), matrix.t())


def empty_like(x: Tensor, channels: int) -> Tensor:
    """Return an uninitialised `(B, channels, H, W)` in channels_last."""
    batch, _, height, width = x.shape
    return torch.empty(
        (batch, channels, height, width), dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )


def columns(x: Tensor, step: int) -> Tensor:
    """Return `(B, step * C, H, W / step)`: `step` neighbouring pixels of a row as the channels of one."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, height, width // step, step * channels).permute(0, 3, 1, 2)


def rows(x: Tensor, step: int) -> Tensor:
    """Return `(B * step, C, H / step, W)`: each `step`-th row as an image of its own; a copy."""
    batch, channels, height, width = x.shape
    apart = x.permute(0, 2, 3, 1).reshape(batch, height // step, step, width, channels).transpose(1, 2)
    return apart.reshape(batch * step, height // step, width, channels).permute(0, 3, 1, 2)
