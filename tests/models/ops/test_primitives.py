import pytest
import torch
from torch import nn

from archselect.models.ops import PRIMITIVES, FactorizedReduce, build_operation, drop_path, primitive
from archselect.models.ops.primitives import Noise, ResidualReduction, Zero

NAMES = sorted(PRIMITIVES)
ROWS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, -9.0]])[None, None]


def number_of_weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def with_ones(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    return module.eval()


# Every operation


@pytest.mark.parametrize("size", [8, 7, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_divides_the_size_by_the_stride_rounding_up_and_leaves_its_input_alone(name, stride, size):
    x = torch.randn(2, 4, size, size)
    before = x.clone()
    assert build_operation(name, 4, stride)(x).shape == (2, 4, -(-size // stride), -(-size // stride))
    assert torch.equal(x, before)  # other edges read it


# By hand for 16 channels: depthwise kxk has 16 k^2 weights, pointwise 256, an affine batch normalisation 32.
@pytest.mark.parametrize(
    ("name", "stride", "affine", "weights"),
    [
        ("none", 1, True, 0),
        ("noise", 2, True, 0),
        ("skip_connect", 1, True, 0),
        ("skip_connect", 2, True, 256 + 32),
        ("skip_connect", 2, False, 256),
        ("max_pool_3x3", 2, True, 0),
        ("avg_pool_3x3", 1, True, 0),
        ("sep_conv_3x3", 1, True, 2 * (144 + 256 + 32)),
        ("sep_conv_3x3", 2, False, 2 * (144 + 256)),
        ("sep_conv_5x5", 1, True, 2 * (400 + 256 + 32)),
        ("sep_conv_7x7", 1, True, 2 * (784 + 256 + 32)),
        ("dil_conv_3x3", 1, True, 144 + 256 + 32),
        ("dil_conv_5x5", 1, False, 400 + 256),
        ("nor_conv_1x1", 1, True, 256 + 32),
        ("nor_conv_3x3", 1, False, 2304),
    ],
)
def test_has_as_many_weights_as_its_definition(name, stride, affine, weights):
    assert number_of_weights(build_operation(name, 16, stride, affine)) == weights


@pytest.mark.parametrize("name", NAMES)
def test_only_the_skip_connection_is_the_identity_at_stride_1_and_only_none_is_zero(name):
    x = torch.randn(2, 4, 6, 6)
    out = build_operation(name, 4, 1).eval()(x)
    assert torch.equal(out, x) == primitive(name).identity_at_stride_1 == (name == "skip_connect")
    assert (not out.any()) == primitive(name).zero == (name == "none")


def test_an_unknown_operation_is_refused_with_the_one_that_was_meant():
    with pytest.raises(
        ValueError, match=r"'sep_conv_3x4' does not exist\. Did you mean 'sep_conv_3x3'\?.*none, skip_connect"
    ):
        build_operation("sep_conv_3x4", 4, 1)


# Poolings


def test_the_maximum_of_the_window_around_each_pixel():
    assert build_operation("max_pool_3x3", 1, 1)(ROWS)[0, 0].tolist() == [[5, 6, 6], [8, 8, 8], [8, 8, 8]]
    assert build_operation("max_pool_3x3", 1, 2)(ROWS)[0, 0].tolist() == [[5, 6], [8, 8]]
    assert build_operation("max_pool_3x3", 1, 1)(torch.full((1, 1, 2, 2), -3.0)).unique().tolist() == [-3]


def test_the_average_leaves_out_what_lies_outside():
    # Corner (0, 0): (1 + 2 + 4 + 5) / 4; middle: all nine, 27 / 9.
    out = build_operation("avg_pool_3x3", 1, 1)(ROWS)[0, 0]
    assert (out[0, 0], out[1, 1], out[2, 2]) == (3, 3, (5 + 6 + 8 - 9) / 4)
    torch.testing.assert_close(build_operation("avg_pool_3x3", 1, 2)(ROWS)[0, 0], out[::2, ::2])


# Reductions


def test_the_second_half_of_a_factorized_reduction_reads_one_row_and_one_column_further():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    first, second = with_ones(FactorizedReduce(1, 2, affine=False))(x)[0]
    torch.testing.assert_close(first, torch.tensor([[0.0, 2.0], [8.0, 10.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, torch.tensor([[5.0, 7.0], [13.0, 15.0]]), atol=1e-3, rtol=0)


def test_an_odd_image_is_continued_by_zeros():
    x = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)  # odd in height only
    first, second = with_ones(FactorizedReduce(1, 2, affine=False))(x)[0]
    torch.testing.assert_close(first, torch.tensor([[1.0, 3.0], [9.0, 11.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, torch.tensor([[6.0, 8.0], [0.0, 0.0]]), atol=1e-3, rtol=0)


def test_a_factorized_reduction_begins_with_the_activation_and_ends_with_the_normalisation():
    assert not with_ones(FactorizedReduce(1, 2, affine=False))(-torch.rand(1, 1, 4, 4)).any()
    out = FactorizedReduce(3, 4, affine=False)(torch.randn(32, 3, 6, 6))
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


def test_a_factorized_reduction_of_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"channels must be even; got 5"):
        FactorizedReduce(4, 5)


def test_the_shortcut_averages_pairs_of_rows_and_columns():
    x = -torch.tensor([[1.0, 3.0, 5.0], [5.0, 7.0, 7.0], [2.0, 4.0, 9.0]])[None, None]  # the block's ReLU gives zeros
    assert with_ones(ResidualReduction(1, 1))(x)[0, 0].tolist() == [[-4, -6], [-3, -9]]


# Operations that do not read their input


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0])
def test_zero_does_not_read_its_input(value):
    x = torch.full((2, 3, 5, 4), value, requires_grad=True)
    out = Zero(2)(x)
    assert out.shape == (2, 3, 3, 2)
    assert not out.any()
    assert not out.requires_grad


def test_noise_is_standard_normal_drawn_anew_at_each_call_and_follows_the_seed():
    x, noise = torch.full((8, 16, 32, 32), 100.0), Noise(2)
    torch.manual_seed(0)
    first, second = noise(x), noise(x)
    torch.manual_seed(0)
    assert torch.equal(noise(x), first)
    assert not torch.equal(first, second)
    assert first.shape == (8, 16, 16, 16)
    assert first.mean().item() == pytest.approx(0, abs=0.03)
    assert first.std().item() == pytest.approx(1, abs=0.03)


# Drop path


def test_drop_path_drops_whole_samples_of_each_path_and_keeps_the_mean():
    torch.manual_seed(0)
    out = drop_path(torch.ones(20_000, 2 * 3, 2, 2), 0.2, paths=2)
    first, second = out.unflatten(1, (2, 3)).flatten(2).unbind(dim=1)
    for path in (first, second):
        assert (path == path[:, :1]).all()
        assert path[:, 0].unique().tolist() == [0, 1.25]
        assert (path[:, 0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    both = (first[:, 0] == 0) & (second[:, 0] == 0)
    assert both.float().mean().item() == pytest.approx(0.04, abs=0.006)
    assert out.mean().item() == pytest.approx(1, abs=0.015)
    assert not torch.equal(out, drop_path(torch.ones(20_000, 6, 2, 2), 0.2, paths=2))
