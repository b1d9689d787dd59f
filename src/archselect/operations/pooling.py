"""Pooling over 3x3 windows."""

import torch.nn.functional as F
from torch import Tensor, nn


class MaxPool(nn.Module):
    """The maximum over 3x3 windows."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=self.stride, padding=1)


class AvgPool(nn.Module):
    """The average over 3x3 windows; what lies outside of the image does not count."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=self.stride, padding=1, count_include_pad=False)
