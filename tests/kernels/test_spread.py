import pytest
import torch
from plain_comparison import assert_equals, assert_raises_when_differentiated_twice, random

from archselect.kernels import spread

RECEIVERS = [[0, 1, 2], [2, 0], [1]]
SHAPE = (3, 4, 5, 5)


def compare(features, weights, totals):
    """Compare; of the totals, None stands for one that is not given."""
    count, given = len(features), [index for index, total in enumerate(totals) if total is not None]

    def parted(tensors):
        its_totals = dict(zip(given, tensors[2 * count :], strict=True))
        return tensors[:count], tensors[count : 2 * count], [its_totals.get(index) for index in range(len(totals))]

    def kernel(*tensors):
        features, weights, totals = parted(tensors)
        return spread(features, weights, RECEIVERS, [None if total is None else total.clone() for total in totals])

    def plain(*tensors):
        features, weights, totals = parted(tensors)
        sums = [torch.zeros(SHAPE, dtype=torch.float64) if total is None else total for total in totals]
        for feature, its_weights, edges in zip(features, weights, RECEIVERS, strict=True):
            for weight, edge in zip(its_weights, edges, strict=True):
                sums[edge] = sums[edge] + weight * feature
        return sums

    assert_equals(kernel, plain, [*features, *weights, *(totals[index] for index in given)])


@pytest.mark.parametrize("total_needed", [True, False])
@pytest.mark.parametrize("given", [[0, 1, 2], [1], []], ids=str)
@pytest.mark.parametrize(
    ("features_needed", "weights_needed"),
    [
        ([True] * 3, [True] * 3),
        ([True] * 3, [False] * 3),
        ([False] * 3, [True] * 3),
        ([False, True, False], [True, False, False]),
    ],
)
def test_equals_the_weighted_features_summed_at_their_receivers(features_needed, weights_needed, given, total_needed):
    compare(
        [random(*SHAPE, needed=needed) for needed in features_needed],
        [random(len(edges), needed=needed) for edges, needed in zip(RECEIVERS, weights_needed, strict=True)],
        [random(*SHAPE, needed=total_needed) if index in given else None for index in range(3)],
    )


def test_changes_the_given_totals_in_place_and_nothing_else():
    feature, weights, total = random(*SHAPE), random(2), random(*SHAPE, needed=False)
    feature_before, total_before = feature.detach().clone(), total.clone()
    first, second = spread([feature], [weights], [[0, 1]], [total, None])
    assert first is total
    torch.testing.assert_close(total, total_before + weights[0] * feature)
    torch.testing.assert_close(second, weights[1] * feature)
    assert torch.equal(feature, feature_before)


@pytest.mark.parametrize("differentiated", ["feature", "weights"])
def test_cannot_be_differentiated_twice(differentiated):
    inputs = {"feature": random(*SHAPE), "weights": random(2)}
    outputs = spread([inputs["feature"]], [inputs["weights"]], [[0, 1]], [None, None])
    assert_raises_when_differentiated_twice(outputs, inputs[differentiated])
