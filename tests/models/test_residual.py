import pytest
import torch
from torch import nn

from archselect.models.ops.primitives import ResidualReduction


def test_has_as_many_weights_as_its_definition():
    # 16 -> 32 channels: two 3x3 convolutions with normalisation, and the 1x1 of the shortcut, which has none.
    weights = sum(weight.numel() for weight in ResidualReduction(16, 32).parameters())
    assert weights == (16 * 32 * 9 + 64) + (32 * 32 * 9 + 64) + 16 * 32


@pytest.mark.parametrize("size", [8, 7, 1])
def test_halves_the_resolution_rounding_up(size):
    out = ResidualReduction(2, 4).eval()(torch.randn(2, 2, size, size))
    assert out.shape == (2, 4, -(-size // 2), -(-size // 2))


def test_the_shortcut_averages_pairs_of_rows_and_columns():
    module = ResidualReduction(1, 1).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    x = -torch.tensor([[1.0, 3.0, 5.0], [5.0, 7.0, 7.0], [2.0, 4.0, 9.0]])[None, None]  # the block's ReLU gives zeros
    assert module(x)[0, 0].tolist() == [[-4, -6], [-3, -9]]
