"""Stems of the DARTS networks: from the image to what the first cell takes."""

from torch import Tensor, nn

from archselect.operations.batch_norm import BatchNorm2d


class SmallImageStem(nn.Module):
    """Conv3x3 and BN; both inputs of the first cell are its output (CIFAR-10 and images like those)."""

    reduction = 1
    """By how much the resolution is divided."""

    def __init__(self, channels: int, multiplier: int) -> None:
        super().__init__()
        self.out_channels = multiplier * channels
        self.last_reduces = False
        self.layers = nn.Sequential(
            nn.Conv2d(3, self.out_channels, 3, padding=1, bias=False), BatchNorm2d(self.out_channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.layers(x)
        return out, out


class ImageNetStem(nn.Module):
    """Three Conv3x3 of stride 2; the first cell takes what is before and what is after the third (DARTS, ImageNet)."""

    reduction = 8
    """By how much the resolution is divided."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(
                f"The ImageNet stem begins with half of the channels, so their number is even; got {channels}."
            )
        self.out_channels = channels
        self.last_reduces = True
        self.first = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels),
        )
        self.second = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.first(x)
        return out, self.second(out)
