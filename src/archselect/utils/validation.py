"""Checks of numbers that a user gives, each with an error that names the option, what was expected and what came."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn


def check_positive(option: str, value: Any) -> None:
    """Raise a ValueError unless `value` is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{option} must be a whole number above 0; got {value!r}.")


def check_count(option: str, value: Any) -> None:
    """Raise a ValueError unless `value` is a whole number, 0 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{option} must be a whole number, 0 or more; got {value!r}.")


def check_number(option: str, value: Any, zero: bool = True) -> None:
    """Raise a ValueError unless `value` is a finite number, 0 or more; above 0 if not `zero`."""
    if not _is_finite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{option} must be a finite number{', 0 or more' if zero else ' above 0'}; got {value!r}.")


def check_flag(option: str, value: Any) -> None:
    """Raise a ValueError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be true or false; got {value!r}.")


def check_share(option: str, value: Any, zero: bool = False) -> None:
    """Raise a ValueError unless `value` lies between 0 and 1; 0 itself is allowed if `zero`."""
    if not _is_finite(value) or not (0 < value < 1 or (zero and value == 0)):
        raise ValueError(f"{option} must lie between 0 and 1; got {value!r}.")


def check_options(option: str, value: Any, kind: type) -> None:
    """Raise a ValueError unless `value` is a node of options, from which a `kind` was made."""
    if not isinstance(value, kind):
        raise ValueError(f"{option} must be a node of options, {option}.NAME=VALUE; got {value!r}.")


def check_choice(option: str, value: Any, choices: Iterable[str]) -> None:
    """Raise a ValueError unless `value` is one of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(choices)}; got {value!r}.")


def check_optimizer(option: str, factory: Callable[[Iterable[nn.Parameter]], object]) -> None:
    """Raise a ValueError if the optimizer refuses its settings, a negative learning rate for example."""
    settings = factory.keywords if isinstance(factory, partial) else {}
    for name, value in settings.items():
        not_finite = isinstance(value, float) and not math.isfinite(value)
        if isinstance(value, str) or not_finite or (name == "lr" and value is None):
            raise ValueError(f"{option}.{name} must be a finite number; got {value!r}.")
    try:
        factory([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ValueError(f"{option} cannot be made: {error}. It was given {given}; change what it refuses.") from error


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
