"""Operations that do not look at what they are given: zeros and noise."""

import torch
from torch import Tensor, nn


class Zero(nn.Module):
    """Zeros of the input's shape, at the stride; the input is not read."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """Standard normal noise of the input's shape, at the stride, drawn anew at each call from PyTorch's own generator.

    S4 offers it so that a sound selection has something to refuse (Zela et al., arXiv 1909.09656).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])
