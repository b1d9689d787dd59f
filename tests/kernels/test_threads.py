import pytest
import torch
from tests.kernels.plain_comparison import assert_equals, assert_the_same_at_every_call, batch, random, statistics
from tests.kernels.plain_nodes import Leaving, mixed, nodes_by_loops, plain_nodes

from archselect import kernels
from archselect.kernels.cpu import native as calls

pytestmark = pytest.mark.usefixtures("threads")

# Fewer images than threads, and a number that cannot be shared out evenly.
each_batch_size = pytest.mark.parametrize("images", [1, 5], ids=lambda number: f"{number}_images")


def assert_equals_plain_nodes(leaving, operations):
    assert_equals(
        lambda state, *_: nodes_by_loops(state, operations, 1, 3, batch()),
        lambda state, *_: plain_nodes(state, operations, 1, 3, batch()),
        leaving.tensors(),
        leaving.moved,
    )


@each_batch_size
def test_share_out_the_images_of_a_state(images):
    leaving = Leaving(images, affine=True)
    assert_equals_plain_nodes(leaving, leaving.all_kinds())


@each_batch_size
@pytest.mark.parametrize("halves", [1, 2], ids=["one_weight", "two_weights"])
def test_share_out_the_images_of_a_mixture(halves, images):
    parts, weights = [random(images, 4, 4, 6) for _ in range(2)], [random(6, 8, 1, 1) for _ in range(halves)]
    norm = statistics(6 * halves)
    assert_equals(
        lambda *_: kernels.mix(parts, weights, norm, batch()),
        lambda *_: mixed(parts, weights, norm, batch()),
        [*parts, *weights],
        [norm.mean, norm.variance],
    )


def test_give_the_same_numbers_at_every_call():
    leaving = Leaving(5, channels=6, size=(9, 8))
    operations = leaving.all_kinds()
    kernel = lambda state, *_: nodes_by_loops(state, operations, 1, 3, batch())  # noqa: E731
    assert_the_same_at_every_call(kernel, leaving.tensors(), leaving.moved)


def test_a_change_of_their_number_is_followed(threads):
    for number in (threads, threads + 1, 1):
        torch.set_num_threads(number)
        leaving = Leaving(5)
        assert_equals_plain_nodes(leaving, leaving.kinds["separable twice"]())


@pytest.mark.parametrize(
    ("size", "used"),
    [((64, 16, 32, 32), 3), ((2, 16, 32, 32), 2), ((8, 4, 8, 8), 1)],
    ids=["many numbers", "fewer images than threads", "few numbers"],
)
def test_more_threads_than_the_work_is_worth_are_not_woken(size, used, monkeypatch):
    monkeypatch.undo()  # the grain is that of a run
    made = calls.NativeLoops(size, torch.float32, 1, batch(), 3, size[1])
    assert made.inputs.threads == used
