"""Search methods against selection methods: what each pair came to, or why it was refused."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from archselect.reporting.results import Choices, Row

REFUSED = "refused.json"


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


def refusals(folder: str | Path) -> dict[Choices, str]:
    """Return the pairs under `folder` that were refused before anything was computed, with the reason."""
    found = {}
    for path in sorted(Path(folder).rglob(REFUSED)):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[Choices(*(str(record[name]) for name in Choices._fields))] = str(record["reason"])
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
