"""Batch statistics in float32 where the mean square exceeds the variance by more than float32 can tell apart."""

import pytest
import torch
import torch.nn.functional as F
from tests.kernels.plain_comparison import batch
from tests.kernels.plain_nodes import nodes_by_loops

from archselect import kernels

CHANNELS = 3


def images(means=1e4):
    """Return positive images whose standard deviation is 1 about their means."""
    return means + torch.randn(4, CHANNELS, 16, 16)


def centre(ins, outs, kernel):
    """Return weights `(outs, ins, k, k)` of a convolution that changes nothing."""
    weights = torch.zeros(outs, ins, kernel, kernel)
    weights[:, :, kernel // 2, kernel // 2] = torch.eye(outs, ins) if ins > 1 else 1
    return weights


def convolve(x, depthwise, mixing, norm, how):
    return kernels.convolve(x, (kernels.Convolution(depthwise, mixing, norm),), 1, how)


def mix(x, norm, how):
    return kernels.mix([x], [centre(CHANNELS, CHANNELS, 1)], norm, how)


def dense(x, norm, how):
    return convolve(x, None, centre(CHANNELS, CHANNELS, 3), norm, how)


def separable(x, norm, how):
    return convolve(x, centre(1, CHANNELS, 3), centre(CHANNELS, CHANNELS, 1), norm, how)


def pool(x, norm, how):
    return nodes_by_loops(x, [kernels.Pools(torch.ones(1), (0,), True, norm)], 1, 1, how)[0]


each_way = pytest.mark.parametrize("normalise", [mix, dense, separable, pool], ids=lambda way: way.__name__)


def moved(normalise, x):
    """Return the output, and the running statistics with those of `x` in their place."""
    norm = kernels.Running(torch.zeros(CHANNELS), torch.ones(CHANNELS))
    out = normalise(x, norm, batch(momentum=1.0))
    return out, norm.mean.double(), norm.variance.double()


def exact(normalise, x):
    """Return mean and variance of what is normalised, and its variance as a difference of means in float32."""
    seen = F.max_pool2d(x, 3, 1, 1) if normalise is pool else x
    over = (0, 2, 3)
    return seen.double().mean(over), seen.double().var(over), seen.square().mean(over) - seen.mean(over).square()


@each_way
def test_a_variance_keeps_its_digits_where_the_mean_is_large(normalise):
    x = images()
    out, mean, variance = moved(normalise, x)
    its_mean, its_variance, naive = exact(normalise, x)
    assert ((naive - its_variance).abs() > 0.1 * its_variance).any()
    torch.testing.assert_close(variance, its_variance, rtol=1e-3, atol=0)
    torch.testing.assert_close(mean, its_mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(CHANNELS), rtol=1e-3, atol=0)


@each_way
def test_a_variance_keeps_its_digits_where_images_differ(normalise):
    x = images(torch.tensor([1e4, 1e4 + 5, 1e4 - 5, 1e4 + 1])[:, None, None, None])
    _, mean, variance = moved(normalise, x)
    its_mean, its_variance, _ = exact(normalise, x)
    torch.testing.assert_close(variance, its_variance, rtol=1e-4, atol=0)
    torch.testing.assert_close(mean, its_mean, rtol=1e-7, atol=0)


@each_way
def test_an_image_that_begins_far_from_its_mean_spoils_no_digits(normalise):
    x = images()
    x[:, :, :2, :2] = 1e4 + 100
    _, _, variance = moved(normalise, x)
    torch.testing.assert_close(variance, exact(normalise, x)[1], rtol=1e-3, atol=0)
