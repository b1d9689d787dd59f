from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.search.small_search import cell_supernet, darts_supernet, decide, partly_decided, resident

from archselect.data.loader import BilevelBatch
from archselect.models.supernet.supernet import Supernet
from archselect.search import FirstOrder
from archselect.tasks import Classification


def a_batch(seed: int = 0) -> Any:
    return next(iter(resident(6, 6, (seed, "batch"))))


def first_order(supernet: Supernet) -> list[torch.Tensor]:
    return list(FirstOrder()(supernet, BilevelBatch(a_batch(1), a_batch(2)), Classification(), None))


def test_no_gradient_of_a_weight_is_computed() -> None:
    supernet = cell_supernet()
    computed: list[Any] = []
    for weight in supernet.weight_parameters():
        weight.register_hook(computed.append)
    first_order(supernet)
    assert computed == []
    assert all(parameter.grad is None for parameter in supernet.parameters())
    F.cross_entropy(supernet(a_batch()[0]), a_batch()[1]).backward()
    assert computed, "the hooks see a gradient where one is computed"


def test_the_alpha_of_edges_that_are_decided_or_dropped_gets_no_gradient() -> None:
    gradient = first_order(partly_decided("skip_connect", "sep_conv_3x3"))[0]
    assert [bool(row.any()) for row in gradient] == [False, True, True, False, True]


def test_a_cell_type_that_was_decided_to_be_empty_has_gradient_zero() -> None:
    supernet = darts_supernet("none", "sep_conv_3x3")
    decide(supernet, "normal", dict.fromkeys(range(5), 0))
    normal, reduction = first_order(supernet)
    assert not normal.any()
    assert normal.shape == reduction.shape == (5, 2)


@pytest.mark.parametrize("batch", ["architecture", "weight"])
@pytest.mark.parametrize("operations", [("skip_connect", "nor_conv_1x1"), ("none", "avg_pool_3x3", "nor_conv_3x3")])
def test_it_agrees_with_finite_differences_of_the_loss_on_its_batch(operations: tuple[str, ...], batch: Any) -> None:
    supernet = cell_supernet(*operations).double()
    one, other = ((images.double(), labels) for images, labels in (a_batch(1), a_batch(2)))
    (gradient,) = FirstOrder(batch)(supernet, BilevelBatch(weights=one, architecture=other), Classification(), None)
    images, labels = other if batch == "architecture" else one
    alpha = supernet.alphas["cell"]
    start = alpha.detach().clone()

    def loss(place: int, step: float) -> float:
        with torch.no_grad():
            alpha.copy_(start).view(-1)[place] += step
            return float(F.cross_entropy(supernet(images), labels))

    slopes = [(loss(place, 1e-5) - loss(place, -1e-5)) / 2e-5 for place in range(alpha.numel())]
    assert gradient.flatten().tolist() == pytest.approx(slopes, rel=1e-4, abs=1e-8)
