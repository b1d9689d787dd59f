"""The skip connection: the identity, or what stands for it where the resolution is halved."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.operations.batch_norm import BatchNorm2d
from archselect.operations.convolution import subsampled


class FactorizedReduce(nn.Module):
    """Halves the resolution: ReLU, two 1x1 convolutions of stride 2, concatenation, batch normalisation.

    The second convolution reads the pixels one row and one column further. An image of odd size is continued by zeros
    there, so that both convolutions give `ceil(size / 2)`; the official code takes even sizes only.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        check_halves(out_channels)
        self.first = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.second = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.norm = BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.first(subsampled(x, 2)), self.second(subsampled(_shifted(x), 2))], dim=1))


def check_halves(channels: int) -> None:
    """Raise a ValueError unless the two convolutions of a factorized reduction can give half of the channels each."""
    if channels % 2:
        raise ValueError(
            "A factorized reduction gives an even number of channels, half by each of its convolutions; "
            f"got {channels}."
        )


def _shifted(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    return x[:, :, 1:, 1:]


def build_skip(channels: int, stride: int, affine: bool = True) -> nn.Module:
    """Return the identity, or at stride 2 a factorized reduction."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
