import pytest
import torch

from archselect.models.ops import Noise, Zero


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0])
def test_zero_does_not_read_its_input(value):
    out = Zero(2)(torch.full((2, 3, 5, 4), value))
    assert out.shape == (2, 3, 3, 2)
    assert not out.any()


def test_zero_gives_its_input_no_gradient():
    assert not Zero(1)(torch.ones(1, 1, 2, 2, requires_grad=True)).requires_grad


def test_noise_is_standard_normal_whatever_the_input():
    out = Noise(1)(torch.full((8, 16, 16, 16), 100.0))
    assert abs(out.mean().item()) < 0.03
    assert abs(out.std().item() - 1) < 0.03


def test_noise_is_drawn_anew_at_each_call_and_follows_the_seed():
    x, noise = torch.zeros(2, 3, 4, 4), Noise(2)
    torch.manual_seed(0)
    first, second = noise(x), noise(x)
    torch.manual_seed(0)
    assert torch.equal(noise(x), first)
    assert not torch.equal(first, second)
    assert first.shape == (2, 3, 2, 2)
