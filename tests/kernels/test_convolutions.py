import pytest
import torch
from tests.kernels.plain_comparison import (
    assert_raises_when_differentiated_twice,
    assert_the_same_at_every_call,
    each_memory_format,
    each_mode,
    each_stride,
    random,
)
from tests.kernels.plain_modules import NAMES, assert_equals_the_plain_module, by_loops, module, moved_by, plain

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


@each_kind
@pytest.mark.parametrize("images", [1, 2, 3, 4, 5])
def test_any_number_of_images(name, images):
    assert_equals_the_plain_module(module(name), random(images, 3, 4, 5))


@each_module
@each_stride
def test_in_float32(name, stride):
    built = module(name, 8, stride, dtype=torch.float32)
    assert_equals_the_plain_module(built, random(2, 8, 9, 7, dtype=torch.float32))


@each_kind
@each_memory_format
def test_reads_images_in_any_memory_format_and_gives_channels_last(name, memory_format):
    built, x = module(name, 6), random(2, 6, 5, 4, memory_format=memory_format)
    assert_equals_the_plain_module(built, x)
    assert built(x).is_contiguous(memory_format=torch.channels_last)


@each_kind
def test_reads_part_of_a_larger_tensor(name):
    x = torch.randn(4, 9, 10, 4, dtype=torch.float64)[::2, 3:, ::2].requires_grad_()
    assert_equals_the_plain_module(module(name, 6), x)


@each_kind
@each_mode
@pytest.mark.parametrize("frozen", ["the input", "the parameters", "both", "the kernels", "the normalisations"])
def test_only_some_gradients_are_needed(name, training, frozen):
    built, x = module(name, training=training), random(2, 3, 5, 4, needed=frozen not in ("the input", "both"))
    for parameter in built.parameters():
        kind = "the kernels" if parameter.dim() == 4 else "the normalisations"
        parameter.requires_grad_(frozen not in (kind, "the parameters", "both"))
    assert_equals_the_plain_module(built, x)


@each_kind
def test_a_weight_in_channels_last_is_read_as_what_it_is(name):
    assert_equals_the_plain_module(module(name, 6).to(memory_format=torch.channels_last), random(2, 6, 5, 4))


@each_kind
@each_mode
def test_the_same_numbers_at_every_call(name, training):
    built = module(name, 6, training=training)
    x = random(3, 6, 9, 8)
    assert_the_same_at_every_call(by_loops(built), [x, *built.parameters()], moved_by(built))


@each_kind
@each_mode
def test_a_second_derivative_is_refused(name, training):
    built, x = module(name, training=training), random(2, 3, 5, 4)
    assert_raises_when_differentiated_twice(by_loops(built)(x), [x, *built.parameters()])


@pytest.mark.parametrize(
    "built",
    [ReLUConvBN(3, 4, 3, 1, 1), ReLUConvBN(4, 4, 3, 1, 0)],
    ids=["other number of channels", "smaller images"],
)
def test_what_the_loops_cannot_do_is_left_to_pytorch(built):
    x = torch.randn(2, built[1].in_channels, 5, 4)
    assert torch.equal(built.eval()(x), plain(built)(x))
