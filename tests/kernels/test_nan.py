import pytest
import torch
from tests.kernels.plain_comparison import TOLERANCE, batch, each_mode, random, statistics
from tests.kernels.plain_nodes import Leaving, mixed, nodes_by_loops, plain_nodes

from archselect import kernels

NAN = float("nan")


def with_nan(x):
    """Put NaN into one channel of one pixel, which a reduction reads too."""
    with torch.no_grad():
        x[0, 1, 2, 2] = NAN
    return x


def assert_is_nan_where_it_should_be(actual, expected, training):
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE[torch.float64], equal_nan=True)
    assert actual.isnan().any()
    assert training or not actual.isnan().all()


@each_mode
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("kind", [kind for kind in Leaving().kinds if kind != "values"])
def test_goes_through_operations_as_in_pytorch(kind, channels, training):
    leaving = Leaving(channels=channels, size=(8, 7))
    for operation in leaving.kinds[kind]():
        state = with_nan(leaving.state)
        nodes = nodes_by_loops(state, [operation], 1, 3, batch(training, momentum=0.0))
        expected = plain_nodes(state, [operation], 1, 3, batch(training, momentum=0.0))
        for receiver in operation.receivers:
            assert_is_nan_where_it_should_be(nodes[receiver], expected[receiver], training)


@each_mode
@pytest.mark.parametrize("halves", [1, 2], ids=["one_weight", "two_weights"])
def test_goes_through_a_mixture_as_in_pytorch(halves, training):
    parts, weights = [random(2, 4, 4, 6), with_nan(random(2, 4, 4, 6))], [random(6, 8, 1, 1) for _ in range(halves)]
    norm, how = statistics(6 * halves), batch(training, momentum=0.0)
    out = kernels.mix(parts, weights, norm, how)
    assert_is_nan_where_it_should_be(out, mixed(parts, weights, norm, how), training)


@each_mode
def test_in_a_gradient_reaches_the_state_and_the_weights(training):
    leaving = Leaving(channels=8)
    nodes = nodes_by_loops(leaving.state, leaving.kinds["separable twice"](), 1, 3, batch(training))
    upstream = [with_nan(torch.ones_like(node)) for node in nodes]
    in_state, in_weights = torch.autograd.grad(nodes, [leaving.state, leaving.made["weights"][0]], upstream)
    assert in_state.isnan().any()
    assert in_weights.isnan().all()
