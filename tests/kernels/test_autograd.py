import pytest
import torch
from tests.kernels.plain_comparison import (
    assert_equals,
    assert_raises_when_differentiated_twice,
    assert_the_same_at_every_call,
    batch,
    each_memory_format,
    each_mode,
    each_stride,
    random,
)
from tests.kernels.plain_nodes import Leaving, nodes_by_loops, plain_nodes

from archselect import kernels

NODES = 3
KINDS = list(Leaving().kinds)


def by_loops(leaving, operations, how):
    return lambda state, *_: nodes_by_loops(state, operations, leaving.stride, NODES, how)


def assert_equals_the_sum(leaving, operations, how):
    """Compare nodes, running statistics and all gradients that are needed."""

    def plain(state, *_):
        return plain_nodes(state, operations, leaving.stride, NODES, how)

    assert_equals(by_loops(leaving, operations, how), plain, leaving.tensors(), leaving.moved)


@each_stride
@each_mode
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "bare"])
@pytest.mark.parametrize("channels", [1, 3, 8, 12])
def test_a_node_is_the_sum_of_all_operations(channels, stride, training, affine):
    leaving = Leaving(channels=channels, stride=stride, affine=affine)
    assert_equals_the_sum(leaving, leaving.all_kinds(), batch(training))


# 16, 32 and 64 have loops of their own; the others fill vectors and tiles in part, once, or several times.
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("channels", [2, 6, 16, 24, 32, 40, 64])
def test_any_number_of_channels(channels, dtype):
    leaving = Leaving(channels=channels, dtype=dtype)
    assert_equals_the_sum(leaving, leaving.all_kinds(), batch())


@each_mode
@pytest.mark.parametrize("kind", KINDS)
def test_operations_of_one_kind_are_enough(kind, training):
    leaving = Leaving()
    assert_equals_the_sum(leaving, leaving.kinds[kind](), batch(training))


# Rows are cut into tiles of 8 pixels, of 16 where a vector holds all channels, and images into chunks of 64.
@each_stride
@pytest.mark.parametrize(
    "size", [(1, 1), (2, 2), (1, 5), (9, 15), (5, 24), (3, 70)], ids=lambda size: f"{size[0]}x{size[1]}"
)
@pytest.mark.parametrize("images", [2, 5], ids=lambda number: f"{number}_images")
def test_any_size_of_the_images(images, size, stride):
    leaving = Leaving(images, size=size, stride=stride)
    assert_equals_the_sum(leaving, leaving.all_kinds(), batch())


@each_mode
@pytest.mark.parametrize(
    "needed",
    [
        ("state",),
        ("weights",),
        ("parameters",),
        ("values",),
        ("weights", "parameters"),
        ("state", "weights", "values"),
        ("state", "parameters", "values"),
        (),
    ],
    ids=lambda kinds: " and ".join(kinds) or "none",
)
def test_only_some_gradients_are_needed(needed, training):
    leaving = Leaving(affine=True)
    operations = leaving.all_kinds()
    leaving.need(*needed)
    assert_equals_the_sum(leaving, operations, batch(training))


@pytest.mark.parametrize("stages", [1, 2], ids=["one_stage", "two_stages"])
@pytest.mark.parametrize("separable", [True, False], ids=["separable", "dense"])
def test_stacked_edges_that_are_left_out_get_no_gradient_and_keep_their_statistics(separable, stages):
    leaving = Leaving(affine=True)
    operation = leaving.convolutions((0, 1), (3, 1), 3, separable=separable, stages=stages)
    before = [statistic.clone().unflatten(0, (4, -1)) for statistic in leaving.moved]
    nodes = nodes_by_loops(leaving.state, [operation], 1, 2, batch())
    gradients = torch.autograd.grad(sum(node.pow(3).sum() for node in nodes), leaving.made["parameters"])
    for gradient in gradients:
        assert gradient.unflatten(0, (4, -1)).flatten(1).any(1).tolist() == [False, True, False, True]
    for old, statistic in zip(before, leaving.moved, strict=True):
        moved = (statistic.unflatten(0, (4, -1)) != old).any(1)
        assert moved.tolist() == [False, True, False, True]


def test_the_statistics_of_a_pool_move_once_however_many_edges_read_it():
    leaving = Leaving()
    once, thrice = leaving.pools(True, (0,)), leaving.pools(True, (0, 1, 1))
    for new, old in ((thrice.norm.mean, once.norm.mean), (thrice.norm.variance, once.norm.variance)):
        new.copy_(old)
    before = once.norm.mean.clone()
    for pools in (once, thrice):
        nodes_by_loops(leaving.state, [pools], 1, 2, batch())
    assert not torch.equal(once.norm.mean, before)
    assert torch.equal(once.norm.mean, thrice.norm.mean)
    assert torch.equal(once.norm.variance, thrice.norm.variance)


@each_mode
def test_a_node_sums_what_arrives_from_several_states(training):
    first, second = Leaving(stride=2, size=(9, 8)), Leaving(size=(5, 4))
    left = [(leaving, leaving.all_kinds(), leaving.stride) for leaving in (first, second)]

    def together(*_):
        arrivals = [kernels.edge_forward(one.state, operations, stride, NODES, how) for one, operations, stride in left]
        return [kernels.node_sum(at_node) for at_node in zip(*arrivals, strict=True)]

    def plain(*_):
        nodes = [plain_nodes(one.state, operations, stride, NODES, how) for one, operations, stride in left]
        return [sum(at_node) for at_node in zip(*nodes, strict=True)]

    how = batch(training)
    assert_equals(together, plain, [*first.tensors(), *second.tensors()], [*first.moved, *second.moved])


def test_a_node_that_nothing_reaches_is_zero():
    leaving = Leaving()
    first, second = nodes_by_loops(leaving.state, [leaving.convolutions((1,), (0,), 3)], 1, 2, batch())
    assert not first.any()
    assert second.all()


@each_memory_format
def test_reads_states_and_values_in_any_memory_format_and_gives_channels_last(memory_format):
    leaving = Leaving()
    leaving.state = leaving.made["state"][0] = random(2, 3, 5, 4, memory_format=memory_format)
    values = tuple(random(2, 3, 5, 4, memory_format=memory_format) for _ in range(2))
    leaving.made["values"] += values
    operations = [kernels.Values(torch.ones(2, dtype=torch.float64), (0, 1), values), *leaving.kinds["dense"]()]
    assert_equals_the_sum(leaving, operations, batch())
    assert all(
        node.is_contiguous(memory_format=torch.channels_last)
        for node in by_loops(leaving, operations, batch())(leaving.state)
    )


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_running_statistics_stay_or_are_those_of_the_batch_to_the_last_bit(momentum):
    leaving = Leaving()
    operations = [leaving.pools(True, (0,)), leaving.convolutions((0, 1, 2, 2), (0, 1, 2, 3), 3, stages=2)]
    moved = []
    for start in (0.1, 1e6):
        for statistic in leaving.moved:
            statistic.fill_(start)
        nodes_by_loops(leaving.state, operations, 1, NODES, batch(momentum=momentum))
        moved.append([statistic.clone() for statistic in leaving.moved])
    first, second = moved
    assert all((one == 0.1).all() and (other == 1e6).all() for one, other in zip(*moved, strict=True)) or momentum
    assert all(map(torch.equal, first, second)) == bool(momentum)


@each_mode
def test_the_same_numbers_at_every_call(training):
    leaving = Leaving(channels=12, size=(9, 8), affine=True)
    kernel = by_loops(leaving, leaving.all_kinds(), batch(training))
    assert_the_same_at_every_call(kernel, leaving.tensors(), leaving.moved)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_derivative_is_refused(kind):
    leaving = Leaving()
    operations = leaving.kinds[kind]()
    nodes = nodes_by_loops(leaving.state, operations, 1, NODES, batch())
    assert_raises_when_differentiated_twice(nodes, leaving.made["weights"])
