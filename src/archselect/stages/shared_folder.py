"""A stage's folder as the processes that work on it together see it: one writes, and tells the others what it reads."""

from collections.abc import Callable, Mapping
from typing import Any

from archselect import ranks
from archselect.store import StageFolder


class SharedFolder(StageFolder):
    """A stage's folder in which the first process reads and writes for all of them.

    What it reads, all are given, so that they go on from the same: all must ask at once.
    """

    @classmethod
    def of(cls, folder: StageFolder) -> "SharedFolder":
        """Return a folder as the processes share it."""
        return cls(folder.path, folder.key)

    @property
    def own(self) -> StageFolder:
        """The folder, for the first process alone."""
        return StageFolder(self.path, self.key)

    def write_text(self, name: str, text: str) -> None:
        """See `StageFolder`."""
        if ranks.first():
            self.own.write_text(name, text)

    def append_line(self, name: str, record: Mapping[str, Any]) -> None:
        """See `StageFolder`."""
        if ranks.first():
            self.own.append_line(name, record)

    def keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """See `StageFolder`."""
        if ranks.first():
            self.own.keep_lines(name, keep)

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """See `StageFolder`."""
        return ranks.from_first(lambda: self.own.read_lines(name))
