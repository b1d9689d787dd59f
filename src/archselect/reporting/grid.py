"""Search methods against selection methods: what each pair came to, or why it was refused."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from archselect.foreign.files import printable
from archselect.foreign.json import read_json
from archselect.reporting.results import Choices, Row, named, reason

REFUSED = "refused.json"
MAXIMUM_REASON = 2000
"""How many characters of a reason are shown."""


class Place(NamedTuple):
    """What the pairs of one grid have in common."""

    search_space: str
    evaluation: str
    data: str


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        place: What its pairs have in common.
        searches: Its rows.
        selections: Its columns.
        cells: What each pair came to, in words.
        reasons: Of the refusals, in the order of their numbers, from 1.
    """

    place: Place
    searches: tuple[str, ...]
    selections: tuple[str, ...]
    cells: dict[tuple[str, str], str]
    reasons: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"Grid: {self.place.search_space}, {self.place.evaluation}, {self.place.data}"

    @property
    def refused(self) -> set[Choices]:
        """The pairs whose refusal it shows."""
        space, evaluation, data = self.place
        return {Choices(space, *pair, evaluation, data) for pair, text in self.cells.items() if "refused" in text}


def refusals(folder: str | Path, warn: Callable[[str], None]) -> dict[Choices, str]:
    """Return the pairs under `folder` that were refused before anything was computed, with the reason.

    `warn` is told of each refusal that cannot be read.
    """
    found = {}
    for path in sorted(Path(folder).rglob(REFUSED)):
        try:
            record = read_json(path, path.parent)
            names = [named(record[name], name) for name in Choices._fields]
            why = printable(str(record["reason"]))[:MAXIMUM_REASON]
        except (OSError, ValueError, TypeError, KeyError) as error:
            warn(f"Left out {path}, which is no refusal of a run: {reason(error)}.")
            continue
        found[Choices(*names)] = why
    return found


def grids(report: Sequence[Row], refused: dict[Choices, str]) -> list[Grid]:
    """Return a grid for every place where there are several searches and several selections.

    A pair shows its mean test accuracy in percent, or `decided` where nothing was evaluated. A pair that was refused
    and worked another time, with other options, shows its result.
    """
    words = {choices: "" for choices in refused} | {row.choices: _words(row) for row in report}
    made = []
    for place in sorted({_place(choices) for choices in words}):
        here = {choices: text for choices, text in words.items() if _place(choices) == place and choices.search != "–"}
        searches, selections = _names(c.search for c in here), _names(c.selection for c in here)
        if len(searches) < 2 or len(selections) < 2:
            continue
        numbers: dict[str, int] = {}
        cells = {}
        for choices, text in sorted(here.items()):
            reason = "" if text else refused[choices]
            number = numbers.setdefault(reason, len(numbers) + 1) if reason else 0
            cells[choices.search, choices.selection] = text or f"refused ({number})"
        made.append(Grid(place, searches, selections, cells, tuple(numbers)))
    return made


def _place(choices: Choices) -> Place:
    return Place(choices.search_space, choices.evaluation, choices.data)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _words(row: Row) -> str:
    if row.mean is None:
        return "decided"
    return f"{row.mean:.2f}" if row.std is None else f"{row.mean:.2f} ± {row.std:.2f}"
