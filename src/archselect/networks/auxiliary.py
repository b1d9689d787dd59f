"""The auxiliary head: a second classifier halfway up, whose loss helps a deep network to train (DARTS, appendix)."""

import torch.nn.functional as F
from torch import Tensor, nn

from archselect.operations.batch_norm import BatchNorm2d

_OFFICIAL_STRIDES = {8: 3, 7: 2}


class AuxiliaryHead(nn.Module):
    """ReLU, pooling to 2x2, Conv1x1 to 128, BN, ReLU, Conv2x2 to 768, BN, ReLU, linear.

    Maps features `(B, C, H, W)` to logits `(B, classes)`.

    The official head averages windows of 5x5, three pixels apart where features measure 8x8 (CIFAR), two where they
    measure 7x7 (ImageNet); that leaves 2x2. Features of other sizes, which it does not take, are pooled adaptively.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            BatchNorm2d(768),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(768, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(_pooled_to_2x2(F.relu(features)))


def _pooled_to_2x2(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if height == width and height in _OFFICIAL_STRIDES:
        return F.avg_pool2d(x, 5, stride=_OFFICIAL_STRIDES[height])
    return F.adaptive_avg_pool2d(x, 2)
