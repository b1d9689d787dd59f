import pytest
import torch
from tests.kernels.plain_comparison import each_memory_format, each_mode, each_stride, random
from tests.kernels.plain_modules import NAMES, assert_equals_the_plain_module, module, plain

from archselect.models.ops import ReLUConvBN

each_module = pytest.mark.parametrize("name", NAMES)
# One stage and two, separable and dense: what the other tests vary does not depend on the kernel.
each_kind = pytest.mark.parametrize("name", ["sep3", "dil5", "conv3"])


@each_module
@each_stride
@each_mode
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "bare"])
def test_equals_the_plain_module(name, stride, training, affine):
    assert_equals_the_plain_module(module(name, 3, stride, affine, training), random(2, 3, 9, 7))


# 16, 32 and 64 have loops of their own; the others fill vectors and tiles in part, once, or several times.
@each_kind
@pytest.mark.parametrize("channels", [1, 2, 6, 8, 12, 16, 24, 32, 40, 64])
def test_any_number_of_channels(name, channels):
    assert_equals_the_plain_module(module(name, channels), random(2, channels, 5, 4))


# Rows are cut into tiles of 8 pixels, of 16 where a vector holds all channels, and images into chunks of 64.
@each_kind
@each_stride
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 5), (9, 15), (5, 24), (3, 70)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_any_size_of_the_images(name, size, channels, stride):
    assert_equals_the_plain_module(module(name, channels, stride), random(3, channels, *size))


@each_module
@each_stride
def test_in_float32(name, stride):
    built = module(name, 8, stride, dtype=torch.float32)
    assert_equals_the_plain_module(built, random(2, 8, 9, 7, dtype=torch.float32))


@each_kind
@each_memory_format
def test_reads_images_and_weights_in_any_memory_format_and_gives_channels_last(name, memory_format):
    built, x = module(name, 6).to(memory_format=memory_format), random(2, 6, 5, 4, memory_format=memory_format)
    part = torch.randn(4, 9, 10, 4, dtype=torch.float64)[::2, 3:, ::2].requires_grad_()
    for images in (x, part):
        assert_equals_the_plain_module(built, images)
        assert built(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "built",
    [ReLUConvBN(3, 4, 3, 1, 1), ReLUConvBN(4, 4, 3, 1, 0)],
    ids=["other number of channels", "smaller images"],
)
def test_what_the_loops_cannot_do_is_left_to_pytorch(built):
    x = torch.randn(2, built[1].in_channels, 5, 4)
    assert torch.equal(built.eval()(x), plain(built)(x))
