"""What stands before the cells of a network."""

from torch import nn

from archselect.distributed.batch_norm import BatchNorm2d


def conv3x3(in_channels: int, channels: int) -> nn.Sequential:
    """Return the stem of DARTS on CIFAR-10 and of NAS-Bench-201, Conv3x3 and BN, which keeps height and width."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), BatchNorm2d(channels))
