from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytest
import torch

from archselect.utils.validation import (
    FRACTION,
    FRACTION_OR_ZERO,
    POSITIVE_INT,
    FractionOrZero,
    NonNegativeFloat,
    PositiveInt,
    check_fields,
    check_optimizer,
    one_of,
)


@pytest.mark.parametrize("value", [1, 50])
def test_whole_numbers_above_0_are_positive(value: int) -> None:
    POSITIVE_INT.check("search.epochs", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "5", None])
def test_everything_else_is_not_and_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^search\.epochs must be a whole number above 0; got {value!r}\.$"):
        POSITIVE_INT.check("search.epochs", value)


def test_a_share_lies_between_0_and_1() -> None:
    FRACTION.check("search.weight_share", 0.5)
    FRACTION_OR_ZERO.check("held_out_share", 0.0)


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.5, -0.1, float("nan"), "half", None])
def test_a_share_outside_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^search\.weight_share must lie between 0 and 1; got {value!r}\.$"):
        FRACTION.check("search.weight_share", value)


@pytest.mark.parametrize("value", [1, -0.1, float("nan")])
def test_a_share_that_may_be_0_may_not_be_all_or_less_than_nothing(value: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        FRACTION_OR_ZERO.check("held_out_share", value)


def test_a_choice_outside_the_choices_is_shown_them() -> None:
    one_of(["accuracy", "loss"]).check("criterion", "loss")
    with pytest.raises(ValueError, match=r"^criterion must be one of accuracy, loss; got 'los'\.$"):
        one_of(["accuracy", "loss"]).check("criterion", "los")


def test_a_choice_is_looked_up_in_choices_that_can_be_read_once_only() -> None:
    with pytest.raises(ValueError, match="one of accuracy, loss"):
        one_of(iter(["accuracy", "loss"])).check("criterion", None)


def test_an_optimizer_is_asked_whether_it_takes_its_settings() -> None:
    check_optimizer("optimizer", partial(torch.optim.SGD, lr=0.1))
    with pytest.raises(ValueError, match=r"^optimizer cannot be made: Invalid learning rate: -0\.1"):
        check_optimizer("optimizer", partial(torch.optim.SGD, lr=-0.1))
    with pytest.raises(ValueError, match=r"^optimizer cannot be made: .*learning_rate"):
        check_optimizer("optimizer", partial(torch.optim.SGD, learning_rate=0.1))


@dataclass(frozen=True)
class Options:
    epochs: PositiveInt | None
    rate: NonNegativeFloat
    share: FractionOrZero
    schedule: Literal["cosine", "constant"]
    flip: bool
    name: str = "any"


GOOD = {"epochs": None, "rate": 0, "share": 0.5, "schedule": "cosine", "flip": False}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("epochs", 0, "be a whole number above 0"),
        ("rate", None, "be a finite number, 0 or more"),
        ("share", 1.0, "lie between 0 and 1"),
        ("schedule", "linear", "be one of cosine, constant"),
        ("flip", 1, "be true or false"),
    ],
)
def test_a_field_is_checked_by_its_annotation(option: str, value: Any, expected: str) -> None:
    check_fields(Options(**GOOD), "search.part")
    with pytest.raises(ValueError, match=rf"^search\.part\.{option} must {expected}; got {value!r}\.$"):
        check_fields(Options(**{**GOOD, option: value}), "search.part")
