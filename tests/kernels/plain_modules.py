"""Modules that run on `kernels.convolve`, and the same without it."""

import torch
from tests.kernels.plain_comparison import assert_equals
from torch import nn

from archselect import kernels
from archselect.models.ops import DilConv, ReLUConvBN, SepConv

BUILD = {
    "sep": SepConv,
    "dil": DilConv,
    "conv": lambda channels, kernel, stride, affine=True: ReLUConvBN(
        channels, channels, kernel, stride, kernel // 2, affine
    ),
}
NAMES = ["sep3", "sep5", "sep7", "dil3", "dil5", "dil7", "conv1", "conv3", "conv5", "conv7"]


def module(name, channels=3, stride=1, affine=True, training=True, dtype=torch.float64):
    """Return a module with statistics, scales and shifts as training leaves them; some scales are 0 or negative."""
    built = BUILD[name[:-1]](channels, int(name[-1]), stride, affine).to(dtype).train(training)
    for norm in built.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
            if affine:
                nn.init.normal_(norm.bias)
                nn.init.normal_(norm.weight)
                with torch.no_grad():
                    norm.weight[0] = -norm.weight[0].abs()
                    norm.weight[1:2] = 0
    return built


def moved_by(built):
    return [statistic for name, statistic in built.named_buffers() if name.endswith(("running_mean", "running_var"))]


def plain(built):
    def call(x, *_):
        with kernels.disabled():
            return built(x)

    return call


def by_loops(built):
    def call(x, *_):
        assert kernels.is_available(x)
        return built(x)

    return call


def assert_equals_the_plain_module(built, x):
    """Compare outputs, running statistics and the gradients in the input and in the parameters."""
    assert_equals(by_loops(built), plain(built), [x, *built.parameters()], moved_by(built))
