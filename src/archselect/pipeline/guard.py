"""What surrounds a run: signals stop it, what a user can mend becomes a sentence, its folder says why it failed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from archselect.distributed.launch import errors_in_order
from archselect.pipeline.config import as_user_error
from archselect.results.grid import FAILED, REFUSED, keep_failure
from archselect.store.redact_paths import redact
from archselect.utils.errors import UserError, sentence, stopping_on_signals


@dataclass
class Phase:
    """How far a run has come: `failure` is the file that says why it came to nothing."""

    failure: str = REFUSED


@contextmanager
def run_guard(config: DictConfig, folder: Path, console: Console) -> Iterator[Phase]:
    """Surround a run: signals stop it, what a user can mend ends as a `UserError`, and its folder says why it failed.

    Yields:
        The phase, at first that of the checks, after which a run is refused.
    """
    phase = Phase()
    with errors_in_order(), stopping_on_signals(console), log_exceptions():
        try:
            with as_user_error():
                yield phase
        except Exception as error:
            record_failure(config, folder, error, phase.failure if isinstance(error, UserError) else FAILED)
            raise


def record_failure(config: DictConfig, folder: Path, error: Exception, name: str) -> None:
    """Write down why a run failed (`FAILED`) or was refused before it began (`REFUSED`), for the report on a sweep."""
    with suppress(OSError):  # on a full disk the error itself is what matters
        keep_failure(folder, config, redact(sentence(error)), name)


@contextmanager
def log_exceptions() -> Iterator[None]:
    """Write an error into the run folder's log too: of a sweep's errors, the terminal shows a line each."""
    try:
        yield
    except Exception as error:
        logging.getLogger(__name__).error("%s", error, exc_info=not isinstance(error, UserError))
        raise
