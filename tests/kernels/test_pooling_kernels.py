import pytest
import torch
import torch.nn.functional as F
from plain_comparison import assert_equals, assert_raises_when_differentiated_twice, random

from archselect.kernels import average_pool, max_pool

SIZES = pytest.mark.parametrize("size", [(8, 8), (7, 5), (3, 2), (1, 6), (5, 1), (2, 2), (1, 1)], ids=str)


@SIZES
@pytest.mark.parametrize("needed", [True, False])
def test_average_pooling_equals_pytorchs_that_excludes_the_padding(needed, size):
    def plain(x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    assert_equals(average_pool, plain, [random(3, 4, *size, needed=needed)])


@SIZES
@pytest.mark.parametrize("needed", [True, False])
def test_max_pooling_equals_pytorchs_with_or_without_a_gradient(needed, size):
    assert_equals(max_pool, lambda x: F.max_pool2d(x, 3, 1, 1), [random(3, 4, *size, needed=needed)])


@SIZES
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_max_pooling_under_no_grad_equals_pytorchs(memory_format, size):
    x = random(3, 4, *size).detach().contiguous(memory_format=memory_format).requires_grad_()
    with torch.no_grad():
        assert torch.equal(max_pool(x), F.max_pool2d(x, 3, 1, 1))


@pytest.mark.parametrize("pool", [average_pool, max_pool])
def test_leaves_its_input_alone(pool):
    x = random(3, 4, 5, 5, needed=False)
    before = x.clone()
    pool(x)
    assert torch.equal(x, before)


def test_average_pooling_cannot_be_differentiated_twice():
    x = random(3, 4, 6, 6)
    assert_raises_when_differentiated_twice(average_pool(x), x)
