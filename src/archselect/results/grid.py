"""Search methods against selection methods: what each pair came to, or why it was refused or failed."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from archselect.results.summaries import Choices, Row, named, reason
from archselect.safe_io.files import TEXT_BYTES, printable, read_json, read_text
from archselect.store import atomic_write

FAILED = "failed.json"
OVERRIDES = Path(".hydra", "overrides.yaml")


@dataclass(frozen=True)
class Failure:
    """A run that came to nothing.

    Attributes:
        choices: Its choices.
        seed: Its seed, which may be what was wrong with it.
        reason: What it said.
        folder: Where it lies.
    """

    choices: Choices
    seed: str
    reason: str
    folder: Path

    def __str__(self) -> str:
        """Return it as a line of a report."""
        space, search, selection, evaluation, data = self.choices
        return f"{space}, {search} + {selection}, {evaluation}, {data}, seed {self.seed}: {self.reason} ({self.folder})"


def keep_failure(folder: Path, config: DictConfig, why: str, name: str = FAILED) -> None:
    """Write down in the folder of a run that it failed (`FAILED`) or was refused (`REFUSED`), and why."""
    choices = {group: config[group].name for group in ("search_space", "search", "selection", "evaluation", "data")}
    with atomic_write(folder / name) as file:
        file.write((json.dumps({**choices, "seed": config.seed, "reason": why}, indent=2) + "\n").encode())


def forget_failure(folder: Path) -> None:
    """Begin anew in the folder of a run that may have failed before."""
    for name in (FAILED, REFUSED):
        (folder / name).unlink(missing_ok=True)


def failures(folder: str | Path, warn: Callable[[str], None], known: Collection[Choices] = ()) -> list[Failure]:
    """Return the runs under `folder` that failed or were refused.

    Left out are those of which the same overrides came to an end another time.

    Args:
        folder: Where the runs lie.
        warn: Told of a file that says nothing.
        known: Choices whose refusal the report shows already.
    """
    found = sorted(path for name in (FAILED, REFUSED) for path in Path(folder).rglob(name))
    if not found:
        return []
    finished = {_overrides(path.parent) for path in Path(folder).rglob("summary.json")}
    made = []
    for path in found:
        try:
            record = read_json(path, path.parent)
            choices = Choices(*(named(record[name], name) for name in Choices._fields))
            seed, why = (printable(str(record[name]))[:MAXIMUM_REASON] for name in ("seed", "reason"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            warn(f"Left out {path}, which does not say what failed: {reason(error)}.")
            continue
        overrides = _overrides(path.parent)
        if (overrides and overrides in finished) or (path.name == REFUSED and choices in known):
            continue
        made.append(Failure(choices, seed, why, path.parent))
    return made


def _overrides(run: Path) -> tuple[str, ...]:
    file = run / OVERRIDES
    if not file.is_file():
        return ()
    return tuple(sorted(read_text(file, run, TEXT_BYTES).splitlines()))


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
