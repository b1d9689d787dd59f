"""Checks of what a user gives: constraints stand where a field is declared, and one translator words what is wrong.

    @dataclass(frozen=True)
    class Tuning:
        epochs: PositiveInt | None
        learning_rate: NonNegativeFloat
        schedule: Literal["cosine", "constant"]
        train_alpha: bool

        def __post_init__(self) -> None:
            check_fields(self, "selection.tuning")

`bool` and `Literal` are constraints themselves; None passes where the annotation allows it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn


@dataclass(frozen=True)
class Constraint:
    """What a value must be."""

    words: str  # how the sentence goes on after "OPTION must"
    holds: Callable[[Any], bool]

    def check(self, option: str, value: Any) -> None:
        """Raise a ValueError that names the option, what was expected and what came, unless the value is so."""
        if not self.holds(value):
            raise ValueError(f"{option} must {self.words}; got {value!r}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


POSITIVE_INT = Constraint("be a whole number above 0", lambda value: _is_whole(value) and value > 0)
NON_NEGATIVE_INT = Constraint("be a whole number, 0 or more", lambda value: _is_whole(value) and value >= 0)
NON_NEGATIVE_FLOAT = Constraint("be a finite number, 0 or more", lambda value: _is_finite(value) and value >= 0)
POSITIVE_FLOAT = Constraint("be a finite number above 0", lambda value: _is_finite(value) and value > 0)
FINITE_FLOAT = Constraint("be a finite number", _is_finite)
FRACTION = Constraint("lie between 0 and 1", lambda value: _is_finite(value) and 0 < value < 1)
FRACTION_OR_ZERO = Constraint("lie between 0 and 1", lambda value: _is_finite(value) and 0 <= value < 1)
FRACTION_OR_ONE = Constraint("lie above 0 and at most at 1", lambda value: _is_finite(value) and 0 < value <= 1)
FLAG = Constraint("be true or false", lambda value: isinstance(value, bool))

PositiveInt = Annotated[int, POSITIVE_INT]
NonNegativeInt = Annotated[int, NON_NEGATIVE_INT]
PositiveFloat = Annotated[float, POSITIVE_FLOAT]
NonNegativeFloat = Annotated[float, NON_NEGATIVE_FLOAT]
FiniteFloat = Annotated[float, FINITE_FLOAT]
Fraction = Annotated[float, FRACTION]
FractionOrZero = Annotated[float, FRACTION_OR_ZERO]
FractionOrOne = Annotated[float, FRACTION_OR_ONE]


def one_of(choices: Iterable[object]) -> Constraint:
    """Return the constraint that a value is one of `choices`."""
    values = tuple(choices)
    return Constraint(f"be one of {', '.join(map(str, values))}", lambda value: value in values)


def check_fields(options: Any, prefix: str) -> None:
    """Check every field of a dataclass that its annotation constrains; a user names it by the prefix, if there is one.

    Raises:
        ValueError: A value is not what its annotation says; it names the option, what was expected and what came.
    """
    kind: Any = type(options)
    for name, (constraint, optional) in _constraints(kind).items():
        value = getattr(options, name)
        if not (optional and value is None):
            constraint.check(f"{prefix}.{name}" if prefix else name, value)


@cache
def _constraints(kind: type) -> dict[str, tuple[Constraint, bool]]:
    """Return the constraint of each constrained field, and whether None passes as well."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        constraints = [_constraint(option) for option in options if option is not NoneType]
        if len(constraints) == 1 and constraints[0] is not None:
            found[name] = (constraints[0], NoneType in options)
    return found


def _constraint(hint: Any) -> Constraint | None:
    if hint is bool:
        return FLAG
    if get_origin(hint) is Literal:
        return one_of(get_args(hint))
    if get_origin(hint) is Annotated:
        return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Constraint)), None)
    return None


def check_options(option: str, value: Any, kind: type) -> None:
    """Raise a ValueError unless `value` is a node of options, from which a `kind` was made."""
    if not isinstance(value, kind):
        raise ValueError(f"{option} must be a node of options, {option}.NAME=VALUE; got {value!r}.")


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


def imported(target: str, said: str) -> Any:
    """Return what `MODULE.CLASS` names; a ValueError begins with `said`, such as `The config names`."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{said} {target!r}, which cannot be imported ({error}). _target_ must be MODULE.CLASS of a file that "
            "Python finds: in the folder you are in, or in one on PYTHONPATH."
        ) from error
