from copy import deepcopy

import pytest
import torch

from archselect.models.ops import PRIMITIVES
from archselect.models.supernet.mixed_ops import STACKED, CellState, StackedBatchNorm, StackedWeight

NAMES = sorted(STACKED)


def stacked(name, edges=3, channels=4, stride=1, pool_norm=True):
    torch.manual_seed(0)
    return STACKED[name](edges, channels, stride, pool_norm)


def test_every_primitive_but_none_has_a_stacked_form():
    assert set(STACKED) == set(PRIMITIVES) - {"none"}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NAMES)
def test_adds_to_what_other_operations_gave_and_leaves_that_alone(name, memory_format):
    operation = stacked(name)
    source = CellState(torch.randn(2, 4, 8, 8).contiguous(memory_format=memory_format), 1)
    total = torch.randn(2, 12, 8, 8).contiguous(memory_format=memory_format)
    before, weights = total.clone(), torch.tensor([0.5, -1.0, 3.0])
    torch.manual_seed(1)
    alone = operation(source, weights, [0, 1, 2])
    torch.manual_seed(1)
    torch.testing.assert_close(operation(source, weights, [0, 1, 2], total), before + alone)
    assert torch.equal(total, before)


@pytest.mark.parametrize("positions", [[0], [2], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "noise"])
def test_an_edge_gives_the_same_whichever_others_are_evaluated_with_it(name, positions):
    operation, source = stacked(name), CellState(torch.randn(2, 4, 8, 8), 1)
    weights = torch.tensor([0.5, -1.0, 3.0])
    together = operation(source, weights, [0, 1, 2]).unflatten(1, (3, 4))
    before = source.state.clone()
    some = operation(source, weights[positions], positions).unflatten(1, (len(positions), 4))
    torch.testing.assert_close(some, together[:, positions])
    assert torch.equal(source.state, before)  # others read it


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("edges", "positions"), [(1, [0]), (3, [1]), (3, [0, 2]), (3, [0, 1, 2])])
def test_the_scale_of_a_stacked_norm_multiplies_each_edge(edges, positions, training, memory_format):
    norm = StackedBatchNorm(edges, 4).train(training)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, len(positions) * 4, 5, 5).contiguous(memory_format=memory_format).requires_grad_()
    scale = torch.tensor([0.5, -2.0, 3.0])[: len(positions)].requires_grad_()
    plain = deepcopy(norm)(x, positions) * scale.repeat_interleave(4)[:, None, None]
    scaled = norm(x, positions, scale)
    torch.testing.assert_close(scaled, plain)
    upstream = torch.randn_like(scaled)  # in the memory format of x: there the CPU kernel is another one
    for actual, expected in zip(
        *(torch.autograd.grad(out, (x, scale), upstream) for out in (scaled, plain)), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_stacked_norm_moves_the_statistics_of_the_edges_it_sees_only():
    norm = StackedBatchNorm(3, 2)
    norm(5 + torch.randn(64, 4, 8, 8), [0, 2])
    moved = norm.running_mean.reshape(3, 2)
    torch.testing.assert_close(moved[[0, 2]], torch.full((2, 2), 0.5), atol=0.05, rtol=0)  # a tenth of the way to 5
    assert moved[1].tolist() == [0, 0]
    assert norm.running_var.reshape(3, 2)[1].tolist() == [1, 1]


def test_without_momentum_each_edge_has_the_average_of_the_batches_that_it_saw():
    norm = StackedBatchNorm(3, 1).double()
    norm.momentum = None
    batches = torch.randn(3, 8, 2, 4, 4, dtype=torch.float64)
    for batch, positions in zip(batches, ([0, 1], [1, 2], [0, 2]), strict=True):
        norm(batch, positions)
    seen = [
        (batches[0, :, 0], batches[2, :, 0]),
        (batches[0, :, 1], batches[1, :, 0]),
        (batches[1, :, 1], batches[2, :, 1]),
    ]
    means = [(one.mean() + other.mean()) / 2 for one, other in seen]
    variances = [(one.var() + other.var()) / 2 for one, other in seen]
    torch.testing.assert_close(norm.running_mean, torch.stack(means))
    torch.testing.assert_close(norm.running_var, torch.stack(variances))
    assert norm.num_batches_tracked.tolist() == [2, 2, 2]
    assert list(norm.state_dict()) == ["running_mean", "running_var"]  # the counts are not kept
    norm.reset_running_stats()
    assert norm.num_batches_tracked.tolist() == [0, 0, 0]


def test_stacked_weights_are_drawn_as_those_of_single_convolutions():
    torch.manual_seed(0)
    weight = StackedWeight(8, 16, 4, 3).weight
    single = torch.nn.Conv2d(4, 16, 3).weight
    assert weight.shape == (8 * 16, 4, 3, 3)
    bound = 1 / 6  # 1 / sqrt(4 * 3 * 3)
    assert 0.99 * bound < weight.abs().max() <= bound
    assert single.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_noise_is_standard_normal_drawn_anew_on_each_edge_and_at_each_call():
    noise, source = stacked("noise"), CellState(torch.full((4, 8, 32, 32), 7.0), 2)
    outputs = [*noise(source, torch.ones(2), [0, 1]).chunk(2, dim=1), noise(source, torch.ones(1), [0])]
    assert outputs[0].shape == (4, 8, 16, 16)
    together = torch.stack(outputs).flatten(1)
    torch.testing.assert_close(together.mean(1), torch.zeros(3), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.corrcoef(together), torch.eye(3), atol=0.05, rtol=0)
    torch.testing.assert_close(together.std(1), torch.ones(3), atol=0.05, rtol=0)
