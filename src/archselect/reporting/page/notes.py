"""What a damaged or old run folder lacks, gathered in sentences while the rest of it is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Notes:
    """The sentences on one run."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Add a sentence."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def attempt(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """Return what `read` returns, or `otherwise` where the files do not have it: then a sentence says why."""
        try:
            return read()
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.add(f"{what} cannot be shown: {_reason(error)}")
            return otherwise


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            reason = f"a record lacks {error.args[0]}"
        case OSError(strerror=str(text), filename=name) if name:
            reason = f"{text}: {name}"
        case ValueError() | OSError():
            reason = str(error)
        case _:
            reason = f"a record is not what it should be ({error})"
    return reason if reason.endswith(".") else f"{reason}."
