"""Checks of numbers that a user gives, each with an error that names the option, what was expected and what came."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def check_positive(option: str, value: Any) -> None:
    """Raise a ValueError unless `value` is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{option} must be a whole number above 0; got {value!r}.")


def check_share(option: str, value: Any, zero: bool = False) -> None:
    """Raise a ValueError unless `value` lies between 0 and 1; 0 itself is allowed if `zero`."""
    if not isinstance(value, int | float) or not (0 < value < 1 or (zero and value == 0)):
        raise ValueError(f"{option} must lie between 0 and 1; got {value!r}.")


def check_choice(option: str, value: Any, choices: Iterable[str]) -> None:
    """Raise a ValueError unless `value` is one of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(choices)}; got {value!r}.")


def check_optimizer(option: str, factory: Callable[[Iterable[nn.Parameter]], object]) -> None:
    """Raise a ValueError if the optimizer refuses its settings, a negative learning rate for example."""
    try:
        factory([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{option} cannot be made: {error}") from error
