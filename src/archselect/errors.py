"""Errors that a user can mend, and packages that are not there."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException


class RunError(CompactHydraException):
    """An error that a user can mend: its message says what was expected, what came and what to do."""


@contextmanager
def extra(name: str, choice: str) -> Iterator[None]:
    """Import packages of an optional extra.

    Args:
        name: The extra's name in pyproject.toml.
        choice: What needs it, as the user typed it.

    Raises:
        RunError: One of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise RunError(
            f"{choice} needs the package {error.name}, which is not installed: pip install 'archselect[{name}]' "
            f"(or pip install -e '.[{name}]' in a copy of the repository)."
        ) from error


def sentence(error: BaseException) -> str:
    """Return what an error says; of one that no user was meant to see, its kind as well."""
    if isinstance(error, CompactHydraException):
        return str(error)
    return f"{type(error).__name__}: {error}"
