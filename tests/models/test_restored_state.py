"""Evaluating a network without moving its statistics, and moving them on purpose, by compiled loops and by PyTorch."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
import torch
from tests.models.small_networks import darts, discrete
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from archselect.models.restored_state import frozen_bn_stats, restored_state

pytestmark = pytest.mark.usefixtures("evaluation")


@pytest.fixture(params=[discrete, darts])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = request.param().double()
    network(batches()[0])
    return network


def batches() -> Tensor:
    return torch.randn(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def norms(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def test_averages_over_batches_are_those_of_what_reached_the_normalisations(network: nn.Module) -> None:
    seen: dict[str, list[Tensor]] = defaultdict(list)
    hooks = [
        norm.register_forward_pre_hook(lambda _, arguments, name=name: seen[name].append(arguments[0]))
        for name, norm in norms(network).items()
    ]
    for batch in batches():
        network(batch)
    for hook in hooks:
        hook.remove()

    update_bn(list(batches()), network)

    for name, norm in norms(network).items():
        means = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen[name]])
        variances = torch.stack([x.var(dim=(0, 2, 3)) for x in seen[name]])
        torch.testing.assert_close(norm.running_mean, means.mean(dim=0), msg=name)
        torch.testing.assert_close(norm.running_var, variances.mean(dim=0), msg=name)
        assert norm.momentum == 0.1


@pytest.mark.parametrize("context", [frozen_bn_stats, restored_state])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_no_statistic_moves_and_no_batch_is_counted(
    network: nn.Module, context: Callable[[nn.Module], Iterator[None]], momentum: float | None
) -> None:
    for norm in norms(network).values():
        norm.momentum = momentum
    network(batches()[1])
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with context(network):  # type: ignore[attr-defined]
        network(batches()[2])
    after = dict(network.named_buffers())
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], buffer) for name, buffer in before.items())
    assert {norm.momentum for norm in norms(network).values()} == {momentum}


def test_every_batch_is_counted_once(network: nn.Module) -> None:
    counted = [
        value for name, value in network.named_buffers() if name.endswith("num_batches_tracked") and value.dim() == 0
    ]
    assert {int(value) for value in counted} == {1}
    network(batches()[1])
    assert {int(value) for value in counted} == {2}
