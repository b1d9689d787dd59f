from itertools import product

import pytest
import torch
import torch.nn.functional as F
from plain_comparison import TIGHT, assert_equals, assert_raises_when_differentiated_twice, random

from archselect.kernels import moments, project

EDGES = 3
STATISTICS = pytest.mark.parametrize("training", [True, False], ids=["moments", "constant"])
INPUTS = pytest.mark.parametrize("inputs", [1, EDGES], ids=["one_x", "one_x_per_edge"])


def standard(edges, channels):
    """Return the mean and the variance that change nothing."""
    return torch.zeros(edges, channels, dtype=torch.float64), torch.ones(edges, channels, dtype=torch.float64)


def compare(xs, matrix, weights, totals, training, **eps):
    """Compare; of the weights and the totals, None stands for one that is not given; totals None for all of them."""
    edges, channels, _ = matrix.shape
    given = [index for index, total in enumerate(totals or []) if total is not None]
    running = random(edges, channels, needed=False), random(edges, channels, needed=False).exp()

    def parted(tensors):
        its_weights, *its_totals = tensors[len(xs) + 1 :] if weights is not None else [None, *tensors[len(xs) + 1 :]]
        by_edge = dict(zip(given, its_totals, strict=True))
        return tensors[: len(xs)], tensors[len(xs)], its_weights, [by_edge.get(edge) for edge in range(edges)]

    def kernel(*tensors):
        its_xs, its_matrix, its_weights, its_totals = parted(tensors)
        copies = None if totals is None else [None if total is None else total.clone() for total in its_totals]
        batch = moments(its_xs) if training else None
        with torch.no_grad():
            mean, variance = batch.through(its_matrix) if training else running
        sums, offsets = project(its_xs, its_matrix, mean, variance, its_weights, copies, batch, **eps)
        assert [offset.any().item() for offset in offsets] == [edge in given for edge in range(edges)]
        return [
            total + offset.view(-1, 1, 1) if edge in given else total
            for edge, (total, offset) in enumerate(zip(sums, offsets, strict=True))
        ]

    def plain(*tensors):
        its_xs, its_matrix, its_weights, its_totals = parted(tensors)
        sums = []
        for edge, total in enumerate(its_totals):
            out = F.conv2d(its_xs[edge % len(its_xs)], its_matrix[edge, :, :, None, None])
            out = F.batch_norm(out, running[0][edge].clone(), running[1][edge].clone(), training=training, **eps)
            out = out if its_weights is None else its_weights[edge] * out
            sums.append(out if total is None else total + out)
        return sums

    assert_equals(
        kernel,
        plain,
        [*xs, matrix, *([] if weights is None else [weights]), *(totals[index] for index in given)],
    )


@STATISTICS
@INPUTS
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "unweighted"])
@pytest.mark.parametrize("given", [[0, 1, 2], [0, 2], [1], [], None], ids=str)
def test_adds_weighted_normalised_pointwise_convolutions_to_the_totals(given, weighted, inputs, training):
    compare(
        [random(3, 4, 5, 6) for _ in range(inputs)],
        random(EDGES, 5, 4),
        random(EDGES) if weighted else None,
        None if given is None else [random(3, 5, 5, 6) if edge in given else None for edge in range(EDGES)],
        training,
    )


@STATISTICS
@INPUTS
@pytest.mark.parametrize("needed", list(product([True, False], repeat=4)), ids=str)
def test_gives_a_gradient_to_what_needs_one_of_xs_matrix_weights_and_totals(needed, inputs, training):
    xs_needed, matrix_needed, weights_needed, totals_needed = needed
    compare(
        [random(3, 4, 5, 6, needed=xs_needed) for _ in range(inputs)],
        random(EDGES, 5, 4, needed=matrix_needed),
        random(EDGES, needed=weights_needed),
        [random(3, 5, 5, 6, needed=totals_needed) if edge else None for edge in range(EDGES)],
        training,
    )


@STATISTICS
def test_gives_a_gradient_to_some_of_the_inputs(training):
    xs = [random(3, 4, 5, 6, needed=needed) for needed in (False, True, False)]
    compare(xs, random(EDGES, 5, 4), random(EDGES), [None] * EDGES, training)


@STATISTICS
@pytest.mark.parametrize(
    ("batch", "channels", "out_channels", "size"),
    [(3, 1, 5, (4, 4)), (3, 5, 1, (4, 4)), (8, 4, 4, (3, 5)), (12, 3, 6, (2, 2)), (1, 6, 3, (7, 1)), (5, 4, 2, (1, 1))],
)
@pytest.mark.parametrize(("edges", "inputs"), [(1, 1), (2, 1), (2, 2)])
def test_takes_any_shape(edges, inputs, batch, channels, out_channels, size, training):
    xs = [random(batch, channels, *size) for _ in range(inputs)]
    totals = [None, random(batch, out_channels, *size)][-edges:]
    compare(xs, random(edges, out_channels, channels), random(edges), totals, training)


@STATISTICS
def test_adds_eps_to_the_variance(training):
    compare([random(3, 4, 5, 6)], random(EDGES, 5, 4), random(EDGES), None, training, eps=0.5)


def test_the_offset_of_a_sum_without_a_total_has_no_gradient():
    inputs = [random(3, 4, 5, 6), random(2, 5, 4), random(2)]
    x, matrix, weights = inputs
    totals = [random(3, 5, 5, 6, needed=False), None]
    sums, offsets = project([x], matrix, torch.rand_like(matrix[..., 0]), *standard(2, 5)[1:], weights, totals)
    (gradients, with_offset) = (
        torch.autograd.grad(sums[1].square().sum() + offset, inputs, retain_graph=True)
        for offset in (0, offsets[1].sum())
    )
    torch.testing.assert_close(with_offset, gradients, **TIGHT)


def test_changes_the_given_totals_in_place_and_nothing_else():
    x, matrix, total = random(3, 4, 5, 6), random(2, 5, 4), random(3, 5, 5, 6, needed=False)
    x_before, matrix_before, total_before = x.detach().clone(), matrix.detach().clone(), total.clone()
    mean, variance = standard(2, 5)
    (first, second), _ = project([x], matrix, mean, variance, totals=[total, None], eps=0.0)
    assert first is total
    torch.testing.assert_close(total, total_before + F.conv2d(x, matrix[0, :, :, None, None]), **TIGHT)
    torch.testing.assert_close(second, F.conv2d(x, matrix[1, :, :, None, None]), **TIGHT)
    assert torch.equal(x, x_before)
    assert torch.equal(matrix, matrix_before)
    assert (mean == 0).all()
    assert (variance == 1).all()


def test_a_total_in_another_memory_format_is_an_error():
    total = random(3, 5, 5, 6, needed=False).contiguous()
    with pytest.raises(RuntimeError, match="view"):
        project([random(3, 4, 5, 6)], random(1, 5, 4), *standard(1, 5), totals=[total])


@INPUTS
@pytest.mark.parametrize("batch", [1, 3, 8, 12])
def test_moments_give_the_statistics_that_batch_normalisation_would_keep(batch, inputs):
    xs, matrix = [random(batch, 4, 5, 6) + 1 for _ in range(inputs)], random(EDGES, 5, 4)
    of_xs = moments(xs)
    mean, variance = of_xs.through(matrix)
    unbiased = variance * of_xs.count / (of_xs.count - 1)
    for edge in range(EDGES):
        kept = [statistic[0] for statistic in standard(1, 5)]
        out = F.conv2d(xs[edge % inputs], matrix[edge, :, :, None, None])
        F.batch_norm(out, *kept, training=True, momentum=1.0)
        torch.testing.assert_close((mean[edge], unbiased[edge]), kept, **TIGHT)


def test_the_variance_through_moments_is_never_negative():
    x = torch.full((4, 3, 5, 5), 1000.1).contiguous(memory_format=torch.channels_last)
    assert (moments([x]).through(torch.randn(8, 16, 3))[1] >= 0).all()


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("channels", "out_channels"), [(4, 5), (1, 5), (5, 1)])
def test_the_output_and_the_gradient_are_in_channels_last(channels, out_channels, given):
    x, matrix = random(3, channels, 5, 6), random(2, out_channels, channels)
    totals = [random(3, out_channels, 5, 6, needed=False) if given else None for _ in range(2)]
    outputs, _ = project([x], matrix, *standard(2, out_channels), totals=totals)
    (gradient,) = torch.autograd.grad(sum(out.square().sum() for out in outputs), x)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (*outputs, gradient))


@STATISTICS
@pytest.mark.parametrize("differentiated", ["x", "matrix", "weights"])
def test_cannot_be_differentiated_twice(differentiated, training):
    inputs = {"x": random(3, 4, 5, 6), "matrix": random(EDGES, 5, 4), "weights": random(EDGES)}
    batch = moments([inputs["x"]]) if training else None
    with torch.no_grad():
        mean, variance = batch.through(inputs["matrix"]) if training else standard(EDGES, 5)
    outputs, _ = project([inputs["x"]], inputs["matrix"], mean, variance, inputs["weights"], batch=batch)
    assert_raises_when_differentiated_twice(outputs, inputs[differentiated])
