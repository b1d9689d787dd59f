"""The price on costs, by hand and in the step of `alpha`."""

import copy
from typing import Any

import pytest
import torch
from tests.search.small_search import bilevel, cell_supernet, darts_supernet, method, module, partly_decided

from archselect.costs.expected import CostModel, Skeleton, counted_models
from archselect.models.supernet.supernet import Supernet
from archselect.search import CostTerm
from archselect.search_spaces import DartsSpace

CHEAP_FIRST = (1, 10)  # of skip_connect and sep_conv_3x3 on every edge


def term(supernet: Supernet, weight: float = 0.5, target: float | None = None) -> CostTerm:
    """A price where every architecture costs 100 and what its edges cost."""
    spaces = supernet.cell_spaces
    operations = {name: (CHEAP_FIRST,) * len(space.operations) for name, space in spaces.items()}
    return CostTerm("macs", weight, target, model=CostModel(spaces, 100, operations))


def two_operations() -> Supernet:
    return darts_supernet("skip_connect", "sep_conv_3x3")  # of 2 cell types, 5 edges each, of which 4 are kept


def test_a_price_is_charged_on_the_share_of_the_dearest_network() -> None:
    supernet = two_operations()
    assert term(supernet).charge(supernet, 0.0) == (0.5 / 180, 0.0)


def choose(supernet: Supernet, convolutions: int) -> None:
    """Let magnitude choose so many convolutions, on the first edges of the normal cell."""
    for alpha in supernet.alphas.values():
        alpha.data.copy_(torch.tensor([0.5, 0.0]))
    supernet.alphas["normal"].data[:convolutions] = torch.tensor([0.0, 1.0])


def test_the_multiplier_of_a_target_grows_while_the_chosen_network_exceeds_it_and_charges_nothing_else() -> None:
    supernet = two_operations()
    priced = term(supernet, weight=2.0, target=120)
    choose(supernet, 4)  # 100 + 4 x 10 + 4 x 1
    assert priced.chosen(supernet) == 144
    price, multiplier = priced.charge(supernet, 0.25)
    assert (price, multiplier) == pytest.approx((0.65 / 120, 0.65))  # 0.25 + 2 (144 / 120 - 1)
    choose(supernet, 1)  # 100 + 10 + 7
    assert priced.charge(supernet, multiplier) == (0.0, multiplier)


def test_gradients_are_those_of_differences_and_0_where_edges_are_decided() -> None:
    supernet = partly_decided("skip_connect", "sep_conv_3x3").double()
    priced, step = term(supernet), 1e-6
    gradients = priced.gradients(supernet, price=3.0)
    for alpha, gradient in zip(supernet.alphas.values(), gradients, strict=True):
        for index in range(alpha.numel()):
            there = []
            for by in (step, -step):
                alpha.data.view(-1)[index] += by
                there.append(float(priced.expected(supernet).detach()))
                alpha.data.view(-1)[index] -= by
            slope = 3.0 * (there[0] - there[1]) / (2 * step)
            assert float(gradient.flatten()[index]) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    assert not gradients[0][[0, 3]].any() and gradients[0][[1, 2, 4]].all() and gradients[1].all()


def test_it_is_added_to_the_gradient_of_the_loss_in_the_steps_that_are_charged() -> None:
    (batch,) = list(bilevel(4, 4))
    plain = module(two_operations()).alpha_gradients(batch)
    priced = module(supernet := two_operations(), cost=term(supernet))
    assert all(map(torch.equal, plain, priced.alpha_gradients(batch)))  # nothing has been charged yet
    priced._price = 0.5
    expected = term(supernet).gradients(supernet, 0.5)
    for whole, loss, more in zip(priced.alpha_gradients(batch), plain, expected, strict=True):
        torch.testing.assert_close(whole, loss + more)


def test_a_search_that_is_cut_off_goes_on_with_its_multiplier() -> None:
    first, second = (module(one := two_operations(), cost=term(one, target=120)) for _ in range(2))
    first._multiplier = 1.5
    checkpoint: dict[str, Any] = {}
    first.on_save_checkpoint(checkpoint)
    second.on_load_checkpoint(copy.deepcopy(checkpoint))
    assert second._multiplier == 1.5


def test_the_tuning_of_a_selection_is_priced_as_long_as_alpha_trains() -> None:
    priced = method(cost=term(two_operations()))
    assert priced.for_tuning(1, 0.1, "constant", train_alpha=True).cost == priced.cost
    assert priced.for_tuning(1, 0.1, "constant", train_alpha=False).cost is None


def test_what_cannot_be_is_refused() -> None:
    space = DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3)
    skeleton = Skeleton.of(space, 8, 10)
    least = counted_models(skeleton)["params"].lowest
    assert CostTerm("params", 1.0, least).of(skeleton).model is not None
    with pytest.raises(ValueError, match=rf"cannot be met: the cheapest network .*has {least:,} params\."):
        CostTerm("params", 1.0, least - 1).of(skeleton)
    with pytest.raises(ValueError, match=r"needs search\.cost\.latency_table=FILE"):
        CostTerm("latency", 1.0)
    with pytest.raises(ValueError, match=r"search\.cost is about an alpha that trains"):
        method(architecture_gradient=None, cost=term(cell_supernet("skip_connect", "nor_conv_1x1")))
