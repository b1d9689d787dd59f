"""The primitives of a supernet, one plain module each; no batch normalisation on an edge is affine.

Written from the definitions, for comparison: nothing here is shared with the package.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainReLUConvBN(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, affine: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.relu(x)))


class PlainFactorizedReduction(nn.Module):
    """The second convolution reads the input without its first row and column."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.shifted_conv = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.conv(x), self.shifted_conv(x[:, :, 1:, 1:])], dim=1))


class PlainSeparable(nn.Module):
    """ReLU, depthwise, pointwise, BN: the dilated convolution, and half of the separable one."""

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__()
        padding = (kernel - 1) * dilation // 2
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pointwise(self.depthwise(F.relu(x))))


class PlainPool(nn.Module):
    def __init__(self, kind: str, channels: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.pool = (
            nn.MaxPool2d(3, stride=stride, padding=1)
            if kind == "max"
            else nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
        )
        self.norm = nn.BatchNorm2d(channels, affine=False) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return x if self.norm is None else self.norm(x)


class PlainZero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x[:, :, :: self.stride, :: self.stride]


class PlainNoise(nn.Module):
    """Noise, or what is in `drawn`: noise that another network drew, so that the two can be compared."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.drawn: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.drawn is not None:
            return self.drawn
        return torch.randn(x[:, :, :: self.stride, :: self.stride].shape, dtype=x.dtype)


def plain_operation(name: str, channels: int, stride: int, pool_norm: bool) -> nn.Module:
    """Return the operation of that name as it stands on an edge of a supernet."""
    match name.split("_"):
        case ["none"]:
            return PlainZero(stride)
        case ["noise"]:
            return PlainNoise(stride)
        case ["skip", "connect"]:
            return nn.Identity() if stride == 1 else PlainFactorizedReduction(channels, channels)
        case [("max" | "avg") as kind, "pool", "3x3"]:
            return PlainPool(kind, channels, stride, pool_norm)
        case ["sep", "conv", size]:
            kernel = int(size[0])
            return nn.Sequential(
                PlainSeparable(channels, kernel, stride, dilation=1), PlainSeparable(channels, kernel, 1, dilation=1)
            )
        case ["dil", "conv", size]:
            return PlainSeparable(channels, int(size[0]), stride, dilation=2)
        case ["nor", "conv", size]:
            return PlainReLUConvBN(channels, channels, int(size[0]), stride)
    raise AssertionError(name)
