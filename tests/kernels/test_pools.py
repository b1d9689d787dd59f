import pytest
import torch
from tests.kernels.plain_comparison import batch
from tests.kernels.plain_nodes import nodes_by_loops

from archselect import kernels

INFINITY = float("inf")
each_pool = pytest.mark.parametrize("maximum", [True, False], ids=["maximum", "average"])
each_norm = pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "bare"])


def pool(x, maximum, stride=1):
    pools = kernels.Pools(x.new_ones(1), (0,), maximum, None)
    return nodes_by_loops(x, [pools], stride, 1, batch())[0]


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
