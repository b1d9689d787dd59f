import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archselect.models.ops import DilConv, ReLUConvBN, SepConv

pytestmark = pytest.mark.usefixtures("evaluation")


def with_ones(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    return module.eval()


def seen_by_the_middle(module: nn.Module, size: int = 15) -> set[tuple[int, int]]:
    """Offsets of the input pixels on which the output pixel in the middle depends."""
    x = torch.ones(1, 1, size, size, requires_grad=True)
    middle = size // 2
    with_ones(module)(x)[0, 0, middle, middle].backward()
    assert x.grad is not None
    return {(int(row) - middle, int(column) - middle) for row, column in x.grad[0, 0].nonzero()}


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_separable_convolution_sees_two_kernels_deep(kernel):
    reach = range(-(kernel - 1), kernel)
    assert seen_by_the_middle(SepConv(1, kernel, 1)) == {(row, column) for row in reach for column in reach}


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_dilated_convolution_sees_every_second_pixel(kernel):
    reach = range(-(kernel - 1), kernel, 2)
    assert seen_by_the_middle(DilConv(1, kernel, 1)) == {(row, column) for row in reach for column in reach}


@pytest.mark.parametrize(
    "module", [ReLUConvBN(1, 1, 3, 1, 1), SepConv(1, 3, 1), DilConv(1, 3, 1)], ids=lambda module: type(module).__name__
)
def test_begins_with_the_activation(module):
    negative = -torch.rand(2, 1, 5, 5)
    assert not with_ones(module)(negative).any()


@pytest.mark.parametrize(
    "module",
    [ReLUConvBN(3, 4, 1, 1, 0, affine=False), ReLUConvBN(3, 3, 3, 2, 1, affine=False), SepConv(3, 3, 1, affine=False)],
    ids=["more_channels", "ReLUConvBN", "SepConv"],
)
def test_ends_with_the_normalisation(module):
    out = module(torch.randn(32, 3, 5, 5))
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [7, 8])
def test_a_convolution_of_one_pixel_and_stride_2_is_that_of_pytorch(size):
    module = ReLUConvBN(3, 3, kernel=1, stride=2, padding=0, affine=False).double()
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    strided = F.batch_norm(F.conv2d(x.relu(), module[1].weight, stride=2), None, None, training=True)
    torch.testing.assert_close(module(x), strided)
