import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytest
import torch

from archselect.utils.validation import (
    FRACTION,
    FRACTION_OR_ONE,
    FRACTION_OR_ZERO,
    POSITIVE_INT,
    Constraint,
    FractionOrZero,
    NonNegativeFloat,
    PositiveInt,
    check_fields,
    check_optimizer,
    one_of,
)


@pytest.mark.parametrize(
    ("constraint", "taken", "refused", "words"),
    [
        (POSITIVE_INT, (1, 50), (0, -1, 1.0, True, "5", None), "be a whole number above 0"),
        (FRACTION, (0.5,), (0, 0.0, 1, 1.5, -0.1, math.nan, "half", None), "lie between 0 and 1"),
        (FRACTION_OR_ONE, (0.1, 1, 1.0), (0, 1.5, True, "half", math.nan), "lie above 0 and at most at 1"),
        (FRACTION_OR_ZERO, (0.0, 0.5), (1, -0.1, math.nan), "lie between 0 and 1"),
        (one_of(iter(["accuracy", "loss"])), ("loss", "accuracy"), ("los", None), "be one of accuracy, loss"),
    ],
)
def test_a_value_is_taken_or_refused_by_name(
    constraint: Constraint, taken: tuple[Any, ...], refused: tuple[Any, ...], words: str
) -> None:
    for value in taken:
        constraint.check("search.option", value)
    for value in refused:
        with pytest.raises(ValueError, match=rf"^search\.option must {words}; got {re.escape(repr(value))}\.$"):
            constraint.check("search.option", value)


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
