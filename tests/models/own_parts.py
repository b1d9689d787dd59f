"""Stems and heads as a user writes them."""

import torch
from torch import Tensor, nn


class Patches(nn.Module):
    """A stem of one convolution, `side` times smaller."""

    def __init__(self, in_channels: int, channels: int, side: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_channels, channels, side, side), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Pair(nn.Module):
    """A stem of two feature maps, the second half as high and wide as the first."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        return first, self.second(first)


class Narrow(Patches):
    """Gives half of the channels that it should."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels // 2)


class MeanAndMaximum(nn.Module):
    """A head that reads two statistics of each channel."""

    def __init__(self, channels: int, outputs: int, hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))


class Dropped(MeanAndMaximum):
    """A head that draws random numbers in training."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


class PerPixel(nn.Conv2d):
    """Gives outputs for each pixel, which no task takes."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, 1)


class Fussy(Narrow):
    """A stem that refuses images in a sentence."""

    def forward(self, x):
        raise ValueError("Images are too small.")
