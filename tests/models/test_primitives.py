import pytest
import torch

from archselect.models.ops import PRIMITIVES, build_operation, primitive

NAMES = sorted(PRIMITIVES)


@pytest.mark.parametrize("size", [8, 7, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_channels_and_divides_the_size_by_the_stride_rounding_up(name, stride, size):
    out = build_operation(name, 4, stride)(torch.randn(2, 4, size, size))
    assert out.shape == (2, 4, -(-size // stride), -(-size // stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_leaves_its_input_alone_because_other_edges_read_it(name, stride):
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    build_operation(name, 4, stride)(x)
    assert torch.equal(x, before)


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
    operation = build_operation(name, 16, stride, affine)
    assert sum(weight.numel() for weight in operation.parameters()) == weights


@pytest.mark.parametrize("name", NAMES)
def test_only_the_skip_connection_is_the_identity_at_stride_1(name):
    x = torch.randn(2, 4, 6, 6)
    is_identity = torch.equal(build_operation(name, 4, 1).eval()(x), x)
    assert is_identity == primitive(name).identity_at_stride_1 == (name == "skip_connect")


@pytest.mark.parametrize("name", NAMES)
def test_only_none_is_zero(name):
    is_zero = not build_operation(name, 4, 1)(torch.randn(2, 4, 6, 6)).any()
    assert is_zero == primitive(name).zero == (name == "none")


@pytest.mark.parametrize("affine", [False, True])
def test_a_normalized_pooling_ends_with_zero_mean_and_unit_variance(affine):
    x = 3 + 2 * torch.randn(16, 4, 6, 6)
    plain = build_operation("avg_pool_3x3", 4, 1)(x)
    out = build_operation("avg_pool_3x3", 4, 1, affine=affine, normalized_pooling=True)(x)
    assert plain.mean() > 2
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=(0, 2, 3), unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_only_poolings_are_normalized_by_that_option():
    assert not list(build_operation("skip_connect", 4, 1, normalized_pooling=True).parameters())


def test_an_unknown_operation_is_refused_with_the_one_that_was_meant():
    with pytest.raises(
        ValueError, match=r"'sep_conv_3x4' is no operation\. Did you mean sep_conv_3x3\?.*none, skip_connect"
    ):
        build_operation("sep_conv_3x4", 4, 1)


@pytest.mark.parametrize(
    ("channels", "stride", "message"), [(4, 3, "stride 1 or 2; got 3"), (0, 1, "at least 1 channel")]
)
def test_impossible_numbers_are_refused(channels, stride, message):
    with pytest.raises(ValueError, match=message):
        build_operation("sep_conv_3x3", channels, stride)
