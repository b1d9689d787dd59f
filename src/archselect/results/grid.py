"""Search methods against selection methods: what each pair came to, or why it was refused or failed."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from archselect.results.formatting import spread
from archselect.results.metric import CLASSIFICATION, Metric, checked_name
from archselect.results.summaries import Choices, Row, by_task, named_choices, read_each
from archselect.safe_io.files import TEXT_BYTES, printable, read_text
from archselect.store import write_text

FAILED, REFUSED = "failed.json", "refused.json"
OVERRIDES = Path(".hydra", "overrides.yaml")
MAXIMUM_REASON = 2000
"""How many characters of a reason are shown."""


@dataclass(frozen=True)
class Failure:
    """A run that came to nothing; its seed is as it was given, for it may be what was wrong."""

    choices: Choices
    seed: str
    reason: str
    folder: Path
    task: str = CLASSIFICATION

    @classmethod
    def from_record(cls, record: Any, folder: Path) -> "Failure":
        """Read what `keep_failure` wrote."""
        seed, reason = (printable(str(record[name]))[:MAXIMUM_REASON] for name in ("seed", "reason"))
        task = checked_name("task", record.get("task", CLASSIFICATION))
        return cls(named_choices(record), seed, reason, folder, task)

    @property
    def refused(self) -> bool:
        """Whether the run was refused before anything was computed."""
        return (self.folder / REFUSED).exists()

    def __str__(self) -> str:
        """Return it as a line of a report."""
        space, search, selection, evaluation, data = self.choices
        return f"{space}, {search} + {selection}, {evaluation}, {data}, seed {self.seed}: {self.reason} ({self.folder})"


def keep_failure(folder: Path, config: DictConfig, why: str, name: str = FAILED) -> None:
    """Write down in the folder of a run that it failed (`FAILED`) or was refused (`REFUSED`), and why."""
    groups = ("task", *Choices._fields)
    record = {**{group: config[group].name for group in groups}, "seed": config.seed, "reason": why}
    write_text(folder / name, json.dumps(record, indent=2) + "\n")


def forget_failure(folder: Path) -> None:
    """Begin anew in the folder of a run that may have failed before."""
    for name in (FAILED, REFUSED):
        (folder / name).unlink(missing_ok=True)


def failures(folder: str | Path, warn: Callable[[str], None]) -> list[Failure]:
    """Return the runs under `folder` that failed or were refused, and whose overrides never came to an end since.

    `warn` is told of each record that says nothing.
    """
    paths = sorted(path for name in (FAILED, REFUSED) for path in Path(folder).rglob(name))
    found = list(read_each(paths, Failure.from_record, "does not say what was refused or failed", warn))
    finished = {_overrides(path.parent) for path in Path(folder).rglob("summary.json")} if found else set()
    return [one for one in found if not (own := _overrides(one.folder)) or own not in finished]


def _overrides(run: Path) -> tuple[str, ...]:
    file = run / OVERRIDES
    return tuple(sorted(read_text(file, run, TEXT_BYTES).splitlines())) if file.is_file() else ()


@dataclass(frozen=True)
class Grid:
    """The searches and selections on one space, evaluation and data, in one metric.

    Attributes:
        lines: Of each search, what it came to with each selection, in words; "–": it was not run.
        reasons: Of the refusals, with their numbers.
        refused: The task and the choices whose refusal it shows.
    """

    title: str
    metric: Metric
    selections: list[str]
    lines: dict[str, list[str]]
    reasons: list[str]
    refused: set[tuple[str, Choices]]

    @classmethod
    def of(
        cls, title: str, task: str, metric: Metric, words: Mapping[Choices, str], refused: Mapping[Choices, str]
    ) -> "Grid":
        """Return the grid of what pairs came to, in words, and why some were refused; these have no words."""
        reasons = list(dict.fromkeys(refused.values()))
        numbers = {one: f"refused ({1 + reasons.index(reason)})" for one, reason in refused.items()}
        shown = {(one.search, one.selection): word for one, word in {**words, **numbers}.items()}
        searches, selections = (sorted({pair[side] for pair in shown}) for side in (0, 1))
        lines = {search: [shown.get((search, one), "–") for one in selections] for search in searches}
        numbered = [f"({number}) {reason}" for number, reason in enumerate(reasons, start=1)]
        return cls(title, metric, selections, lines, numbered, {(task, one) for one in refused})


def grids(report: Sequence[Row], failed: Iterable[Failure]) -> list[Grid]:
    """Return a grid for every task, space, evaluation and data with several searches and several selections.

    A pair shows its mean test metric, or `decided` where nothing was evaluated. A pair that was refused and worked
    another time, with other options, shows its result.
    """
    tasks = by_task(report)
    why = {(one.task, one.choices): one.reason for one in failed if one.refused}
    made = []
    for title, own in tasks:
        task, metric, heading = own[0].task, own[0].metric, f"{title}. " if len(tasks) > 1 else ""
        results = {row.choices: "decided" if row.mean is None else spread(row) for row in own}
        refused = {choices: why[at, choices] for at, choices in why if at == task and choices not in results}
        pairs = sorted((one for one in results | refused if one.search != "–"), key=lambda one: (_place(one), one))
        for place, group in groupby(pairs, _place):
            here = list(group)
            if min(len({one.search for one in here}), len({one.selection for one in here})) > 1:
                words, reasons = ({one: known[one] for one in here if one in known} for known in (results, refused))
                made.append(Grid.of(f"{heading}Grid: {', '.join(place)}", task, metric, words, reasons))
    return made


def _place(choices: Choices) -> tuple[str, str, str]:
    return choices.search_space, choices.evaluation, choices.data
