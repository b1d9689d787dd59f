"""Whether there is an account, and saving a dashboard in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import wandb
from wandb.errors import Error

from archselect.dashboard.definition import Definition

TIMEOUT = 30
"""Seconds that W&B is given to answer."""


class NoAccountError(Exception):
    """There is no account to save in; the message says why."""


def find_entity(entity: str | None) -> str:
    """Return the user or team to save for: `entity`, or that of the account.

    Raises:
        NoAccountError: W&B is offline, nobody is logged in, or W&B cannot be reached or does not accept the key.
    """
    if wandb.setup().settings.mode in ("offline", "disabled", "dryrun"):
        raise NoAccountError("Weights & Biases is offline here (WANDB_MODE or `wandb offline`)")
    try:
        if not wandb.login(prompt=False):
            raise NoAccountError("nobody is logged in to Weights & Biases here")
        own = wandb.Api(timeout=TIMEOUT).default_entity
    except Error as error:
        raise NoAccountError(f"Weights & Biases cannot be used: {str(error).rstrip('.')}") from error
    if entity is None and own is None:
        raise NoAccountError("the account has no default entity: name one with --entity")
    return entity if entity is not None else str(own)


def save(definition: Definition) -> tuple[str, str]:
    """Save workspace and report; return their addresses.

    Raises:
        ValueError: W&B refused.
    """
    with _refusals():
        definition.report.save()  # makes the project if there is none yet
        definition.workspace.save()
        return str(definition.workspace.url), str(definition.report.url)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library hands on whatever its transport raised
        raise ValueError(f"Weights & Biases refused the dashboard: {error}") from error
