import pytest
import torch
from torch import nn

from archselect.models.ops import FactorizedReduce


def reduction_of_one_channel() -> nn.Module:
    module = FactorizedReduce(1, 2, affine=False).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    return module


def test_the_second_half_reads_one_row_and_one_column_further():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    first, second = reduction_of_one_channel()(x)[0]
    torch.testing.assert_close(first, torch.tensor([[0.0, 2.0], [8.0, 10.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, torch.tensor([[5.0, 7.0], [13.0, 15.0]]), atol=1e-3, rtol=0)


def test_an_odd_image_is_continued_by_zeros():
    x = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)  # odd in height only
    first, second = reduction_of_one_channel()(x)[0]
    torch.testing.assert_close(first, torch.tensor([[1.0, 3.0], [9.0, 11.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, torch.tensor([[6.0, 8.0], [0.0, 0.0]]), atol=1e-3, rtol=0)


def test_begins_with_the_activation():
    assert not reduction_of_one_channel()(-torch.rand(1, 1, 4, 4)).any()


def test_ends_with_the_normalisation():
    out = FactorizedReduce(3, 4, affine=False)(torch.randn(32, 3, 6, 6))
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"even number of channels.*got 5"):
        FactorizedReduce(4, 5)
