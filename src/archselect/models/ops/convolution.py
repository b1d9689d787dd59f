"""Convolutions as the search spaces know them: activation first, batch normalisation last.

The ReLU that reads a state is never in place: other edges read the same state.
"""

from typing import cast

from torch import Tensor, nn

from archselect import kernels
from archselect.distributed.batch_norm import BatchNorm2d


def subsampled(x: Tensor, stride: int) -> Tensor:
    """Return the pixels `(B, C, ceil(H / stride), ceil(W / stride))` that a 1x1 convolution of this stride reads.

    All such convolutions of the package are of stride 1 on these. Equal, and safe: PyTorch 2.13 to 2.14.1 write beyond
    their memory in the backward pass of a 1x1 convolution of stride 2 on a CPU with AVX-512, where images are in
    channels_last, have fewer than 16 channels and measure 64 pixels or more.
    """
    return x if stride == 1 else x[:, :, ::stride, ::stride]


class KernelSequential(nn.Sequential):
    """A sequence that compiled loops evaluate where they are turned on."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, ceil(H / stride), ceil(W / stride))`."""
        out = kernels.sequential(self, x)
        return cast(Tensor, super().forward(x)) if out is None else out


class ReLUConvBN(KernelSequential):
    """ReLU, convolution, batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int, affine: bool = True
    ) -> None:
        subsampling, stride = (stride, 1) if kernel == 1 else (1, stride)
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False),
            BatchNorm2d(out_channels, affine=affine),
        )
        self.subsampling = subsampling

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, out_channels, H', W')`."""
        return super().forward(subsampled(x, self.subsampling))


class SepConv(KernelSequential):
    """Twice (ReLU, depthwise convolution, pointwise convolution, batch normalisation); the stride is in the first."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            *_separable(channels, kernel, stride, dilation=1, affine=affine),
            nn.ReLU(inplace=True),
            *_separable(channels, kernel, stride=1, dilation=1, affine=affine),
        )


class DilConv(KernelSequential):
    """ReLU, depthwise convolution with dilation 2, pointwise convolution, batch normalisation."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool = True) -> None:
        super().__init__(nn.ReLU(), *_separable(channels, kernel, stride, dilation=2, affine=affine))


def _separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> tuple[nn.Module, ...]:
    padding = dilation * (kernel - 1) // 2
    depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return depthwise, pointwise, BatchNorm2d(channels, affine=affine)
