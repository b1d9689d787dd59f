from typing import Any

import pytest
import torch
from tests.search.small_search import (
    CLASSES,
    assert_same,
    bilevel,
    cell_supernet,
    decide,
    method,
    plain_bilevel_training,
    trainer,
)
from torch import nn

from archselect.models.supernet.supernet import Supernet
from archselect.search import SearchMethod, SearchModule
from archselect.tasks import Classification
from archselect.training.step import load_optimizer_state

SEARCH, TUNING = (0, "search"), (0, "selection")


def searched(supernet: Supernet, **changes: Any) -> tuple[SearchMethod, SearchModule]:
    """Search for two epochs; return the method of a tuning of two and the module of the search."""
    searching = method(epochs=2, **changes)
    module = SearchModule(supernet, searching, Classification(), CLASSES, SEARCH)
    trainer(2).fit(module, bilevel())
    return searching.for_tuning(2, 0.05, "constant", train_alpha=True), module


def tuned(supernet: Supernet, tuning: SearchMethod, state: Any) -> Supernet:
    decide(supernet, "cell", {0: 1})
    trainer(2).fit(SearchModule(supernet, tuning, Classification(), CLASSES, TUNING, state), bilevel())
    return supernet


def test_the_tuning_goes_on_with_the_moments_of_the_search_and_with_a_new_momentum_of_the_weights() -> None:
    """As DARTS-PT's code does: one optimizer of alpha throughout, a new one of the weights to tune."""
    supernet, reference, fresh = (cell_supernet() for _ in range(3))
    tuning, module = searched(supernet)
    tuned(supernet, tuning, module.architecture_state())
    of_alpha = plain_bilevel_training(reference, method(epochs=2), 2)
    decide(reference, "cell", {0: 1})
    plain_bilevel_training(reference, tuning, 2, of_alpha)
    assert_same(supernet, reference, 1e-5)
    tuning, _ = searched(fresh)
    assert not torch.allclose(tuned(fresh, tuning, None).alphas["cell"], reference.alphas["cell"], rtol=1e-3)


def test_a_search_with_fixed_alpha_remembers_nothing_and_its_tuning_starts_afresh() -> None:
    tuning, module = searched(cell_supernet(), architecture_gradient=None)
    assert module.architecture_state() is None
    assert tuning.architecture_gradient is None


def test_the_settings_of_an_optimizer_stay_its_own() -> None:
    one, other = ([nn.Parameter(torch.ones(2, 3))] for _ in range(2))
    before, after = torch.optim.Adam(one, lr=0.1, betas=(0.5, 0.9)), torch.optim.Adam(other, lr=0.2, betas=(0.6, 0.8))
    one[0].grad = torch.full((2, 3), 2.0)
    before.step()
    load_optimizer_state(after, before.state_dict()["state"])
    assert (after.param_groups[0]["lr"], after.param_groups[0]["betas"]) == (0.2, (0.6, 0.8))
    assert after.state[other[0]]["exp_avg"].tolist() == [[1.0] * 3] * 2  # (1 - 0.5) * 2
    assert after.state[other[0]]["step"] == 1


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({0: {"exp_avg": torch.zeros(3, 2)}}, r"exp_avg of parameter 0 has the shape \(3, 2\), the parameter \(2, 3\)"),
        ({1: {}}, "The state knows a parameter 1, but the optimizer has 1"),
    ],
    ids=["another shape", "another parameter"],
)
def test_the_state_of_other_parameters_is_refused(state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_optimizer_state(torch.optim.Adam([nn.Parameter(torch.ones(2, 3))]), state)
