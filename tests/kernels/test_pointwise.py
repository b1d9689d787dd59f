import pytest
import torch
import torch.nn.functional as F
from plain_comparison import assert_equals, assert_raises_when_differentiated_twice, random

from archselect.kernels import pointwise_convolution


def compare(xs, weight):
    def kernel(weight, *xs):
        return pointwise_convolution(xs, weight)

    def plain(weight, *xs):
        return F.conv2d(torch.cat(xs, dim=1), weight)

    assert_equals(kernel, plain, [weight, *xs])


@pytest.mark.parametrize("size", [(5, 7), (1, 1)], ids=str)
@pytest.mark.parametrize(("channels", "out_channels"), [(4, 3), (1, 5), (5, 1)])
@pytest.mark.parametrize("batch", [3, 8, 12])
@pytest.mark.parametrize("count", [1, 4])
def test_equals_a_convolution_of_the_concatenated_tensors(count, batch, channels, out_channels, size):
    compare([random(batch, channels, *size) for _ in range(count)], random(out_channels, count * channels, 1, 1))


@pytest.mark.parametrize("needed", [[True, False, False], [False, True, False], [False, True, True], [False] * 3])
def test_gives_a_gradient_to_what_needs_one(needed):
    weight_needed, *xs_needed = needed
    compare([random(3, 4, 5, 5, needed=need) for need in xs_needed], random(6, 8, 1, 1, needed=weight_needed))


def test_the_same_tensor_may_come_twice():
    x = random(3, 4, 5, 5)
    weight = random(6, 8, 1, 1)
    torch.testing.assert_close(pointwise_convolution([x, x], weight), F.conv2d(torch.cat([x, x], dim=1), weight))


def test_the_output_and_the_gradients_are_in_channels_last():
    x = random(3, 4, 5, 5)
    out = pointwise_convolution([x, x.clone()], random(6, 8, 1, 1))
    out.square().sum().backward()
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_cannot_be_differentiated_twice():
    x = random(3, 4, 5, 5)
    assert_raises_when_differentiated_twice(pointwise_convolution([x], random(6, 4, 1, 1)), x)
