"""The loops read memory as they are told to; what does not fit is refused before."""

import pytest
import torch
import torch.nn.functional as F
from tests.kernels.plain_comparison import batch, random, statistics
from torch import nn

from archselect import kernels
from archselect.models.ops import ReLUConvBN, SepConv


def convolution(channels, kernel=3, dtype=torch.float64):
    depthwise = random(channels, 1, kernel, kernel, dtype=dtype)
    pointwise = random(channels, channels, 1, 1, dtype=dtype)
    return kernels.Convolution(depthwise, pointwise, statistics(channels, dtype))


@pytest.mark.parametrize(
    ("stage", "x", "message"),
    [
        (convolution(4, dtype=torch.float32), random(2, 4, 6, 6), "is torch.float32, but the image is torch.float64"),
        (convolution(4), random(2, 8, 6, 6), "of 4 channels cannot read an image of 8 channels"),
        (convolution(8), random(2, 4, 6, 6), "of 8 channels cannot read an image of 4 channels"),
        (convolution(4, kernel=9), random(2, 4, 6, 6), r"kernels of sides \(3, 5, 7\); got 9"),
    ],
    ids=["dtype", "more channels", "fewer channels", "kernel"],
)
def test_a_convolution_that_does_not_fit_its_image(stage, x, message):
    with pytest.raises(ValueError, match=message):
        kernels.convolve(x, (stage,), 1, batch())


@pytest.mark.parametrize(
    ("weights", "size", "message"),
    [
        ([random(4, 3, 1, 1)], (6, 6), r"need weights \(D, 6, 1, 1\) of that dtype; got \(4, 3, 1, 1\)"),
        ([random(4, 6, 1, 1, dtype=torch.float32)], (6, 6), "of that dtype; got .* in torch.float32"),
        ([random(2, 6, 1, 1), random(2, 6, 1, 1)], (6, 5), r"even height and width; got \(6, 5\)"),
        ([random(1, 6, 1, 1), random(3, 6, 1, 1)], (6, 6), r"give as many channels; got \[1, 3\]"),
    ],
    ids=["channels", "dtype", "odd size", "unequal halves"],
)
def test_a_mixture_that_does_not_fit_its_parts(weights, size, message):
    parts = [random(2, 3, *size) for _ in range(2)]
    with pytest.raises(ValueError, match=message):
        kernels.mix(parts, weights, statistics(4), batch())


def test_statistics_of_a_single_value():
    built, x = SepConv(3, 3, 1).double(), random(1, 3, 1, 1)
    for evaluate in (built, lambda x: nn.Sequential.forward(built, x)):
        with pytest.raises(ValueError, match="more than 1 value per channel when training"):
            evaluate(x)
    torch.testing.assert_close(built.eval()(x), nn.Sequential.forward(built, x))
    pools = kernels.Pools(torch.ones(1, dtype=x.dtype), (0,), True, statistics(3))
    for evaluate in (
        lambda: kernels.mix([x], [random(4, 3, 1, 1)], statistics(4), batch()),
        lambda: kernels.edge_forward(x, [pools], 1, 1, batch()),
    ):
        with pytest.raises(ValueError, match="more than 1 value per channel when training"):
            evaluate()


@pytest.mark.parametrize(
    ("built", "size"),
    [
        (SepConv(4, 9, 1), 11),
        (ReLUConvBN(4, 4, 2, 1, 1), 12),
        (ReLUConvBN(4, 4, 3, 1, 0), 12),
        (ReLUConvBN(4, 4, 13, 1, 6), 15),
        (ReLUConvBN(4, 6, 3, 1, 1), 15),
    ],
    ids=["9x9 separable", "even kernel", "no padding", "13x13", "more channels"],
)
def test_a_module_that_the_loops_do_not_know_runs_on_the_operators_of_pytorch(built, size):
    built = built.double()
    x = random(2, 4, size, size)
    torch.testing.assert_close(built(x), nn.Sequential.forward(built, x), rtol=0, atol=0)


def test_a_module_counts_its_batches_as_pytorch_does():
    built, x = SepConv(3, 3, 1).double(), random(2, 3, 4, 4)
    for _ in range(3):
        built(x)
    F.relu(built.eval()(x))  # not counted
    assert [int(norm.num_batches_tracked) for norm in built if isinstance(norm, nn.BatchNorm2d)] == [3, 3]
