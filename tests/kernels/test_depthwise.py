import pytest
import torch
import torch.nn.functional as F
from plain_comparison import assert_equals, assert_raises_when_differentiated_twice, random

from archselect.kernels import depthwise_convolutions

BATCH, CHANNELS, EDGES = 3, 2, 3


def compare(xs, weight, stride=1, dilation=1):
    padding = dilation * (weight.shape[-1] // 2)

    def kernel(weight, *xs):
        return depthwise_convolutions(xs, weight, stride, dilation)

    def plain(weight, *xs):
        return [
            F.conv2d(xs[edge % len(xs)], its_weight, None, stride, padding, dilation, groups=CHANNELS)
            for edge, its_weight in enumerate(weight.split(CHANNELS))
        ]

    assert_equals(kernel, plain, [weight, *xs])


@pytest.mark.parametrize("size", [(8, 8), (7, 12), (12, 12), (9, 7), (2, 12), (1, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_equals_a_grouped_convolution_per_edge(kernel, dilation, stride, size):
    weight = random(EDGES * CHANNELS, 1, kernel, kernel)
    for inputs in (1, EDGES):
        compare([random(BATCH, CHANNELS, *size) for _ in range(inputs)], weight, stride, dilation)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("weight_needed", "xs_needed"),
    [(True, [False]), (False, [True]), (True, [False, True, True]), (False, [True, False, True]), (False, [False])],
)
def test_gives_a_gradient_to_what_needs_one(weight_needed, xs_needed, stride):
    xs = [random(BATCH, CHANNELS, 8, 8, needed=needed) for needed in xs_needed]
    compare(xs, random(EDGES * CHANNELS, 1, 5, 5, needed=weight_needed), stride, dilation=2)


def test_an_output_that_nobody_reads_adds_nothing_to_the_gradients():
    x, weight = random(BATCH, CHANNELS, 8, 8), random(EDGES * CHANNELS, 1, 3, 3)
    alone = depthwise_convolutions([x], weight[:CHANNELS], 1, 1)[0].square().sum()
    first_of_three = depthwise_convolutions([x], weight, 1, 1)[0].square().sum()
    torch.testing.assert_close(*(torch.autograd.grad(out, [x, weight]) for out in (first_of_three, alone)))


def test_cannot_be_differentiated_twice():
    x = random(BATCH, CHANNELS, 8, 8)
    assert_raises_when_differentiated_twice(depthwise_convolutions([x], random(CHANNELS, 1, 3, 3), 1, 1), x)
