import pytest
import torch
import torch.nn.functional as F
from tests.kernels.plain_comparison import assert_equals, batch, each_mode, each_stride, random, statistics
from tests.kernels.plain_nodes import nodes_by_loops, pooled

from archselect import kernels

INFINITY = float("inf")
each_pool = pytest.mark.parametrize("maximum", [True, False], ids=["maximum", "average"])
each_norm = pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "bare"])


def pool(x, maximum, stride=1):
    pools = kernels.Pools(x.new_ones(1), (0,), maximum, None)
    return nodes_by_loops(x, [pools], stride, 1, batch())[0]


def assert_equals_plain_pooling(x, maximum, stride=1, normalise=False, training=True):
    norm = statistics(x.shape[1], x.dtype) if normalise else None
    pools, how = kernels.Pools(x.new_ones(1), (0,), maximum, norm), batch(training)
    assert_equals(
        lambda x: nodes_by_loops(x, [pools], stride, 1, how),
        lambda x: pooled(x, pools, stride, how),
        [x],
        [] if norm is None else [norm.mean, norm.variance],
    )


@each_pool
@each_norm
@each_mode
@each_stride
def test_equals_plain_pooling(maximum, normalise, training, stride):
    assert_equals_plain_pooling(random(3, 6, 7, 8), maximum, stride, normalise, training)


@each_pool
@pytest.mark.parametrize("channels", [1, 3, 8, 12])
def test_any_number_of_channels(maximum, channels):
    assert_equals_plain_pooling(random(2, channels, 4, 5), maximum)


@each_pool
@each_norm
@each_stride
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 5)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_tiny_images(maximum, normalise, stride, size):
    assert_equals_plain_pooling(random(3, 3, *size), maximum, stride, normalise)


@each_stride
def test_the_first_of_equal_maxima_takes_the_gradient(stride):
    values = torch.randint(0, 3, (4, 6, 7, 8), dtype=torch.float64)
    assert_equals_plain_pooling(values.contiguous(memory_format=torch.channels_last).requires_grad_(), True, stride)


def test_of_a_constant_image_the_first_pixel_of_each_window_takes_the_gradient():
    x = torch.ones(1, 1, 3, 3, requires_grad=True)
    gradient = torch.autograd.grad(pool(x, maximum=True).sum(), x)[0]
    # Windows of the first two rows begin in row 0, those of the first two columns in column 0.
    assert gradient[0, 0].tolist() == [[4, 2, 0], [2, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("value", [-3.0, -INFINITY], ids=["negative", "infinite"])
def test_the_maximum_is_not_that_of_the_padding(value):
    x = torch.full((1, 3, 2, 2), value, requires_grad=True)
    out = pool(x, maximum=True)
    assert out.unique().tolist() == [value]
    assert torch.autograd.grad(out.sum(), x)[0][0, 0].tolist() == [[4, 0], [0, 0]]


def test_the_average_leaves_out_the_padding():
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, -9.0]])[None, None].requires_grad_()
    out = pool(x, maximum=False)
    assert out[0, 0, 0].tolist() == [(1 + 2 + 4 + 5) / 4, (1 + 2 + 3 + 4 + 5 + 6) / 6, (2 + 3 + 5 + 6) / 4]
    assert out[0, 0, 1, 1] == (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 - 9) / 9
    corner = torch.autograd.grad(out.sum(), x)[0][0, 0, 0, 0]  # read by a corner, two borders and the middle
    torch.testing.assert_close(corner, torch.tensor(1 / 4 + 2 / 6 + 1 / 9))


@each_pool
def test_edges_share_what_a_pool_gave(maximum):
    x, weights = random(2, 3, 5, 4), random(3)
    norm, how = statistics(3), batch()
    pools = kernels.Pools(weights, (0, 1, 0), maximum, norm)

    def plain(x, weights):
        value = pooled(x, pools, 1, how)
        return [(weights[0] + weights[2]) * value, weights[1] * value]

    assert_equals(lambda x, _: nodes_by_loops(x, [pools], 1, 2, how), plain, [x, weights], [norm.mean, norm.variance])


@each_pool
def test_a_state_may_be_pooled_in_several_ways(maximum):
    x = random(2, 3, 5, 4)
    ways = [kernels.Pools(x.new_ones(1), (0,), one, None) for one in (maximum, True, False)]
    most, mean = F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    expected = (2 if maximum else 1) * most + (1 if maximum else 2) * mean
    torch.testing.assert_close(nodes_by_loops(x, ways, 1, 1, batch())[0], expected)
