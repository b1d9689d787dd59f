import pytest
import torch
from tests.kernels.plain_comparison import (
    assert_equals,
    assert_raises_when_differentiated_twice,
    batch,
    each_memory_format,
    each_mode,
    random,
    statistics,
)
from tests.kernels.plain_nodes import mixed

from archselect import kernels

# One weight reads every pixel; of two, the first of each 2x2 pixels goes to one and the last to the other.
each_reduction = pytest.mark.parametrize("halves", [1, 2], ids=["one_weight", "two_weights"])


def inputs(parts=2, halves=1, ins=4, outs=6, images=3, size=(4, 6), dtype=torch.float64):
    """Return parts and weights."""
    read = [random(images, ins, *size, dtype=dtype) for _ in range(parts)]
    return read, [random(outs, parts * ins, 1, 1, dtype=dtype) for _ in range(halves)]


def by_loops(parts, weights, norm, how):
    return lambda *_: kernels.mix(parts, weights, norm, how)


def assert_equals_plain(parts, weights, how):
    norm = statistics(len(weights) * len(weights[0]), weights[0].dtype)
    assert_equals(
        by_loops(parts, weights, norm, how),
        lambda *_: mixed(parts, weights, norm, how),
        [*parts, *weights],
        [norm.mean, norm.variance],
    )


@each_reduction
@each_mode
@pytest.mark.parametrize("parts", [1, 2, 4], ids=lambda number: f"{number}_parts")
def test_equals_a_convolution_of_the_concatenation(parts, halves, training):
    assert_equals_plain(*inputs(parts, halves), batch(training))


@each_reduction
@pytest.mark.parametrize(
    ("ins", "outs"), [(1, 1), (1, 8), (3, 5), (6, 4), (8, 16), (12, 24), (16, 16), (24, 8), (32, 40)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_any_number_of_channels(ins, outs, halves, dtype):
    assert_equals_plain(*inputs(halves=halves, ins=ins, outs=outs, dtype=dtype), batch())


@pytest.mark.parametrize("images", [1, 3], ids=lambda number: f"{number}_images")
@pytest.mark.parametrize(
    ("halves", "size"),
    [(halves, size) for halves in (1, 2) for size in ((2, 2), (2, 8), (10, 14), (4, 140))] + [(1, (1, 1)), (1, (3, 5))],
    ids=str,
)
def test_any_size_of_the_images_that_one_weight_or_two_can_read(halves, size, images):
    assert_equals_plain(*inputs(halves=halves, images=images, size=size), batch(training=images > 1))


@each_reduction
@each_memory_format
def test_reads_parts_in_any_memory_format_and_gives_channels_last(halves, memory_format):
    parts, weights = inputs(halves=halves)
    parts[1] = random(3, 4, 4, 6, memory_format=memory_format)
    assert_equals_plain(parts, weights, batch())
    out = kernels.mix(parts, weights, statistics(6 * halves), batch())
    assert out.is_contiguous(memory_format=torch.channels_last)


@each_reduction
@each_mode
@pytest.mark.parametrize("needed", [(0,), (1,), (0, 1), (2,), (0, 2), ()], ids=str)
def test_only_some_gradients_are_needed(needed, halves, training):
    parts, weights = inputs(halves=halves)
    for number, tensor in enumerate([*parts, *weights]):
        tensor.requires_grad_(number in needed)
    assert_equals_plain(parts, weights, batch(training))


def test_a_part_may_occur_twice():
    parts, weights = inputs()
    assert_equals_plain([parts[0], parts[0]], weights, batch())


def test_two_weights_read_the_first_and_the_last_of_each_2x2_pixels():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], dtype=torch.float64)[None, None].requires_grad_()
    one, unchanged = torch.ones(1, 1, 1, 1, dtype=torch.float64), kernels.Running(x.new_zeros(2), x.new_ones(2))
    out = kernels.mix([x], [one, one], unchanged, kernels.NormMode(training=False, momentum=0.1, eps=0.0))
    assert out[0].tolist() == [[[1, 3]], [[6, 8]]]
    gradient = torch.autograd.grad((out * torch.tensor([10.0, 1.0])[:, None, None]).sum(), x)[0]
    assert gradient[0, 0].tolist() == [[10, 0, 10, 0], [0, 1, 0, 1]]


@each_reduction
def test_a_second_derivative_is_refused(halves):
    parts, weights = inputs(halves=halves)
    out = kernels.mix(parts, weights, statistics(6 * halves), batch())
    assert_raises_when_differentiated_twice(out, [*parts, *weights])
