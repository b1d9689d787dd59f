from functools import partial
from typing import Any

import pytest
import torch
from tests.search.small_search import method
from torch import nn

from archselect.search import L2, Curvature


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "search.epochs must be a whole number above 0; got 0"),
        ({"epochs": 2.5}, "search.epochs must be a whole number above 0; got 2.5"),
        ({"batch_size": -4}, "search.batch_size must be a whole number above 0; got -4"),
        ({"weight_share": 0}, "search.weight_share must lie between 0 and 1; got 0"),
        ({"weight_share": 1.0}, "search.weight_share must lie between 0 and 1; got 1.0"),
        (
            {"weight_optimizer": partial(torch.optim.SGD, lr=-0.1)},
            "search.weight_optimizer cannot be made: Invalid learning rate: -0.1",
        ),
        (
            {"architecture_optimizer": partial(torch.optim.Adam, lr=3e-4, betas=(1.5, 0.999))},
            "search.architecture_optimizer cannot be made: Invalid beta",
        ),
        (
            {"weight_optimizer": partial(torch.optim.SGD, lr=0.1, momemtum=0.9)},
            "search.weight_optimizer cannot be made: .*momemtum",
        ),
        ({"learning_rate_min": -0.001}, "search.learning_rate_min must be a finite number, 0 or more; got -0.001"),
        ({"relaxation": "softmax"}, "search.relaxation must name a class by its _target_, .*; got 'softmax'"),
        ({"relaxation": None}, "search.relaxation must name a class by its _target_, .*; got None"),
        ({"smoothing": "random"}, "search.smoothing must name a class by its _target_, .*; got 'random'"),
        ({"smoothing": L2(0.1)}, "search.smoothing must name a class by its _target_, .*; got L2"),
        ({"greedy": "sgas"}, "search.greedy must name a class by its _target_, .*; got 'sgas'"),
        ({"freezing": 0.3}, "search.freezing must name a class by its _target_, .*; got 0.3"),
        ({"regularizers": {"l2": 0.1}}, "search.regularizers.l2 must name a class by its _target_, .*; got 0.1"),
        ({"stopping": {"skips": 2}}, "search.stopping.skips must name a class by its _target_, .*; got 2"),
        ({"gradient_clip": 0.0}, r"search.gradient_clip must be a finite number above 0; got 0\.0"),
        ({"architecture_gradient_clip": 0}, "search.architecture_gradient_clip must be a finite number above 0; got 0"),
        ({"update_order": "both"}, "search.update_order must be one of alpha_first, weights_first; got 'both'"),
    ],
)
def test_a_method_that_cannot_train_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(**changes)


def test_null_in_place_of_a_part_leaves_it_out() -> None:
    made = method(regularizers={"kl": None, "l2": L2(0.1)}, stopping={"skips": None, "eigenvalue": Curvature()})
    assert made.regularizers == {"l2": L2(0.1)}
    assert made.stopping == {"eigenvalue": Curvature()}
    assert made.rollback_window == Curvature().rollback_window
    assert method(regularizers={"kl": None}).regularizers == {}


def rates(schedule: Any, optimizer: torch.optim.Optimizer, epochs: int) -> list[float]:
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_tuning_starts_at_its_own_learning_rate_and_keeps_the_rest_of_the_optimizer() -> None:
    tuning = method().for_tuning(81, 0.0025, "constant", train_alpha=True)
    optimizer = tuning.weight_optimizer([nn.Parameter(torch.zeros(1))])
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.0025, 0.9)
    assert optimizer.defaults["weight_decay"] == 3e-4
    assert tuning.schedule(optimizer) is None
    assert (tuning.epochs, tuning.batch_size, tuning.gradient_clip) == (81, 4, 5.0)


@pytest.mark.parametrize(
    ("changes", "epochs", "expected"),
    [({"epochs": 50}, 4, [0.1, 0.06, 0.02]), ({"learning_rate_min": None}, 2, [0.1, 0.05, 0.0])],
    ids=["to where the search ended", "after a constant search to zero"],
)
def test_tuning_on_a_cosine_goes_down_over_its_own_epochs(
    changes: dict[str, Any], epochs: int, expected: list[float]
) -> None:
    tuning = method(**changes).for_tuning(epochs, 0.1, "cosine", train_alpha=True)
    optimizer = tuning.weight_optimizer([nn.Parameter(torch.zeros(1))])
    assert rates(tuning.schedule(optimizer), optimizer, epochs + 1)[:: epochs // 2] == pytest.approx(expected)


def test_a_negative_learning_rate_of_the_tuning_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        method().for_tuning(1, -1.0, "constant", train_alpha=True)


@pytest.mark.parametrize(
    ("train_alpha", "changes", "trains"),
    [(True, {}, True), (False, {}, False), (True, {"architecture_gradient": None}, False)],
)
def test_alpha_trains_on_in_tuning_exactly_if_asked_to_and_if_the_search_trained_it(
    train_alpha: bool, changes: dict[str, Any], trains: bool
) -> None:
    assert method(**changes).for_tuning(1, 0.1, "constant", train_alpha).trains_alpha(0) is trains


@pytest.mark.parametrize(("capture", "tuned"), [("none", "none"), ("cuda_graphs", "cuda_graphs"), ("compile", "none")])
def test_nothing_is_compiled_between_decisions(capture: Any, tuned: str) -> None:
    assert method(capture=capture).for_tuning(4, 0.1, "constant", train_alpha=True).capture == tuned
