import pytest
import torch
from plain_comparison import assert_equals, assert_raises_when_differentiated_twice, random

from archselect.kernels import every_second


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("size", [(8, 8), (5, 6), (7, 3), (2, 1), (1, 1)], ids=str)
def test_equals_slicing(size, first, needed):
    x = random(3, 4, *size, needed=needed)
    assert_equals(lambda x: every_second(x, first), lambda x: x[:, :, first::2, first::2], [x])


def test_starts_at_the_first_pixel_unless_told_otherwise():
    x = random(3, 4, 6, 6)
    assert torch.equal(every_second(x), x[:, :, ::2, ::2])


@pytest.mark.parametrize("first", [0, 1])
def test_the_output_and_the_gradient_are_in_channels_last(first):
    x = random(3, 4, 6, 6)
    out = every_second(x, first)
    (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out, memory_format=torch.contiguous_format))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_cannot_be_differentiated_twice():
    x = random(3, 4, 6, 6)
    assert_raises_when_differentiated_twice(every_second(x), x)
