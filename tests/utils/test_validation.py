from functools import partial
from typing import Any

import pytest
import torch

from archselect.utils.validation import check_choice, check_optimizer, check_positive, check_share


@pytest.mark.parametrize("value", [1, 50])
def test_whole_numbers_above_0_are_positive(value: int) -> None:
    check_positive("search.epochs", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "5", None])
def test_everything_else_is_not_and_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^search\.epochs must be a whole number above 0; got {value!r}\.$"):
        check_positive("search.epochs", value)


def test_a_share_lies_between_0_and_1() -> None:
    check_share("search.weight_share", 0.5)
    check_share("held_out_share", 0.0, zero=True)


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.5, -0.1, float("nan"), "half", None])
def test_a_share_outside_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^search\.weight_share must lie between 0 and 1; got {value!r}\.$"):
        check_share("search.weight_share", value)


@pytest.mark.parametrize("value", [1, -0.1, float("nan")])
def test_a_share_that_may_be_0_may_not_be_all_or_less_than_nothing(value: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        check_share("held_out_share", value, zero=True)


def test_a_choice_outside_the_choices_is_shown_them() -> None:
    check_choice("criterion", "loss", ["accuracy", "loss"])
    with pytest.raises(ValueError, match=r"^criterion must be one of accuracy, loss; got 'los'\.$"):
        check_choice("criterion", "los", ["accuracy", "loss"])


def test_a_choice_is_looked_up_in_choices_that_can_be_read_once_only() -> None:
    with pytest.raises(ValueError, match="one of accuracy, loss"):
        check_choice("criterion", None, iter(["accuracy", "loss"]))


def test_an_optimizer_is_asked_whether_it_takes_its_settings() -> None:
    check_optimizer("optimizer", partial(torch.optim.SGD, lr=0.1))
    with pytest.raises(ValueError, match=r"^optimizer cannot be made: Invalid learning rate: -0\.1"):
        check_optimizer("optimizer", partial(torch.optim.SGD, lr=-0.1))
    with pytest.raises(ValueError, match=r"^optimizer cannot be made: .*learning_rate"):
        check_optimizer("optimizer", partial(torch.optim.SGD, learning_rate=0.1))
