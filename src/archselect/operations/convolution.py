"""Convolutions as the search spaces know them: activation first, batch normalisation last.

The ReLU that reads a state is never in place: other edges read the same state.
"""

from torch import nn


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution, batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int, affine: bool = True
    ) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False),
            nn.BatchNorm2d(out_channels, affine=affine),
        )


class SepConv(nn.Sequential):
    """Twice (ReLU, depthwise convolution, pointwise convolution, batch normalisation); the stride is in the first."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            *_separable(channels, kernel, stride, dilation=1, affine=affine),
            nn.ReLU(inplace=True),
            *_separable(channels, kernel, stride=1, dilation=1, affine=affine),
        )


class DilConv(nn.Sequential):
    """ReLU, depthwise convolution with dilation 2, pointwise convolution, batch normalisation."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool = True) -> None:
        super().__init__(nn.ReLU(), *_separable(channels, kernel, stride, dilation=2, affine=affine))


def _separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> tuple[nn.Module, ...]:
    padding = dilation * (kernel - 1) // 2
    depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return depthwise, pointwise, nn.BatchNorm2d(channels, affine=affine)
