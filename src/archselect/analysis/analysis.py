"""What an analysis is: something measured on finished runs, drawn, and read in one paragraph."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from matplotlib.figure import Figure

from archselect.analysis.bench import Bench
from archselect.analysis.subject import Subject
from archselect.runs import FinishedRun
from archselect.stages.job import Finished

Table = list[dict[str, Any]]
"""Rows of plain data, each with the same keys."""

Tables = Mapping[str, Table]
"""What was measured, by name; the first is the main one."""


class Analysis(Protocol):
    """One analysis. What it measures is kept in the store; pictures and words are made of the tables anew.

    Attributes:
        several: Whether it looks at several runs together; otherwise at one.
        version: Raised when a change of the code changes what is measured.
        name: Shown in folders and reports.
    """

    several: ClassVar[bool]
    version: ClassVar[int]

    @property
    def name(self) -> str: ...

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """Raise a ValueError where these runs cannot be analysed this way."""
        ...

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """Return the stages that it reads besides the runs' own; what is not in the store yet is computed."""
        ...

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return the tables."""
        ...

    def draw(self, tables: Tables) -> Figure:
        """Draw what was measured."""
        ...

    def reading(self, tables: Tables) -> str:
        """Return in one paragraph what is to be seen."""
        ...
