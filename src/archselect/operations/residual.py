"""The residual block that halves the resolution between the stages of NAS-Bench-201."""

from torch import Tensor, nn

from archselect.operations.convolution import ReLUConvBN


class ResidualReduction(nn.Module):
    """Two ReLU-Conv3x3-BN, the first of stride 2, beside a shortcut of average pooling over 2x2 and Conv1x1.

    Maps `(B, in, H, W)` to `(B, out, ceil(H / 2), ceil(W / 2))`; at an odd size the shortcut's last windows shrink.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            ReLUConvBN(in_channels, out_channels, 3, 2, 1, affine),
            ReLUConvBN(out_channels, out_channels, 3, 1, 1, affine),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + self.shortcut(x)
