"""What finished runs and their analyses say, gathered over seeds, and what a verdict is.

A verdict is `reproduced`, `not reproduced`, or `undecided` where the numbers allow neither. A few runs of one setting
are a small sample, so a claim about accuracies has to hold for every seed to count.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from scipy.stats import binomtest

from archselect.analysis.base import Table
from archselect.analysis.stats import rows_by
from archselect.pipeline.finished_run import FinishedRun, open_run
from archselect.results.summaries import RunResult
from archselect.safe_io.files import JSON_BYTES, PICTURE_BYTES, checked, read_text
from archselect.store.redact_paths import find_runs

Verdict = Literal["reproduced", "not reproduced", "undecided"]

_KEY = ("search_space", "search", "selection", "seed")
LIKELY = 0.05
"""Below this probability chance is no explanation."""


def every_edge(table: Table) -> list[Table]:
    """Return the rows of every edge of every seed."""
    return [rows for _, rows in rows_by(table, "seed", "cell", "edge")]


def all_or_none(holds: Sequence[bool]) -> Verdict:
    """Return the verdict on a claim that holds everywhere, nowhere, or here and there."""
    if all(holds):
        return "reproduced"
    return "undecided" if any(holds) else "not reproduced"


def beats(chance: float, hits: int, of: int) -> bool:
    """Return whether there are more hits than chance would have it, by a binomial test."""
    return bool(binomtest(hits, of, chance, alternative="greater").pvalue < LIKELY)


@dataclass(frozen=True)
class Evidence:
    """The runs below a folder, one per set of choices and seed.

    Attributes:
        folder: Such as `logs/paper/runs`.
    """

    folder: Path

    @cached_property
    def runs(self) -> Mapping[tuple[str, str, str, int], FinishedRun]:
        """(space, search, selection, seed) -> the run."""
        found: dict[tuple[str, str, str, int], FinishedRun] = {}
        for path in find_runs(self.folder):
            run = open_run(path)
            space, search, selection, seed = (run.summary[name] for name in _KEY)
            key = (space, search, selection, int(seed))
            if key in found:
                raise ValueError(
                    f"{self.folder} holds two runs of {', '.join(map(str, key))}: {found[key].folder} and {path}. "
                    "Name a folder with the runs of one setting."
                )
            found[key] = run
        return found

    def accuracy(self, space: str, search: str, selection: str) -> dict[int, float]:
        """Return the test accuracy in percent of every seed: retrained, or on CIFAR-10 in the table."""
        return {
            seed: accuracy
            for (*choices, seed), run in sorted(self.runs.items())
            if choices == [space, search, selection]
            and (accuracy := RunResult.from_summary(run.summary, run.folder).accuracy) is not None
        }

    def table(self, space: str, analysis: str) -> Table | None:
        """Return the main table of an analysis of all supernets that `darts` trained, with a column `seed`.

        None where it was not made.
        """
        rows: Table = []
        for seed, folder in self._folders(space, analysis).items():
            text = read_text(folder / f"{analysis}.csv", folder, JSON_BYTES)
            for row in csv.DictReader(text.splitlines()):
                rows.append({name: _value(value) for name, value in row.items()} | {"seed": seed})
        return rows or None

    def picture(self, space: str, analysis: str) -> Path | None:
        """Return the picture of an analysis, of the first seed that has it."""
        for folder in self._folders(space, analysis).values():
            return checked(folder / f"{analysis}.png", folder, PICTURE_BYTES)
        return None

    def _folders(self, space: str, analysis: str) -> dict[int, Path]:
        made: dict[int, Path] = {}
        for (of_space, search, _, seed), run in sorted(self.runs.items()):
            folder = run.folder / "analyses" / analysis
            if (of_space, search) == (space, "darts") and (folder / f"{analysis}.png").exists():
                made.setdefault(seed, folder)
        return made

    def validation_images(self, space: str) -> int:
        """Return how many images the supernets of a space are validated on: those that train `alpha`."""
        parts = next(run.parts for (of, *_), run in self.runs.items() if of == space)
        return round(len(parts.data.train.labels) * (1 - parts.search.weight_share))

    def sizes(self) -> str:
        """Return in words what was run."""
        groups: dict[str, list[str]] = {}
        for *choices, seed in sorted(self.runs):
            groups.setdefault(", ".join(map(str, choices)), []).append(str(seed))
        return "; ".join(f"{name} (seeds {', '.join(seeds)})" for name, seeds in groups.items())


def differences(better: Mapping[int, float], than: Mapping[int, float]) -> list[float]:
    """Return the differences of the seeds that both have."""
    return [better[seed] - than[seed] for seed in sorted(set(better) & set(than))]


def listed(values: Mapping[int, float]) -> str:
    """Return the numbers of the seeds, separated by slashes."""
    return " / ".join(f"{value:.2f}" for value in values.values())


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None
