"""What finished runs and their analyses say, gathered over seeds, and what a verdict is.

A verdict is `reproduced`, `not reproduced`, or `undecided` where the numbers allow neither. A few runs of one setting
are a small sample, so a claim about accuracies has to hold for every seed to count.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from scipy.stats import binomtest

from archselect.analysis.base import Table
from archselect.analysis.discretization_accuracy import TRUTH
from archselect.pipeline.finished_run import FinishedRun, open_run
from archselect.results.summaries import RunResult
from archselect.safe_io.files import JSON_BYTES, PICTURE_BYTES, checked, read_text
from archselect.store.redact_paths import find_runs

Verdict = Literal["reproduced", "not reproduced", "undecided"]
Pictures = tuple[tuple[str, str], ...]
"""(space, analysis) of each."""

LIKELY = 0.05
"""Below this probability chance is no explanation."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim and what became of it.

    Attributes:
        number: As in the paper's order.
        claim: In a sentence.
        verdict: See above.
        numbers: What it rests on, in sentences.
        pictures: Of the analyses that show it.
    """

    number: int
    claim: str
    verdict: Verdict
    numbers: str
    pictures: Pictures


def every_edge(table: Table) -> list[Table]:
    """Return the rows of every edge of every seed."""
    return [list(rows) for _, rows in groupby(table, key=lambda row: (row["seed"], row["cell"], row["edge"]))]


def by_seed(table: Table) -> Mapping[int, Table]:
    """Return the rows of every seed."""
    return {seed: list(rows) for seed, rows in groupby(table, key=lambda row: row["seed"])}


def standard_error(edge: Table, images: int) -> float:
    """Return the standard error of the difference of two accuracies of an edge, each on so many images."""
    level = mean([row[TRUTH] for row in edge])
    return float((2 * level * (1 - level) / images) ** 0.5)


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def all_or_none(holds: Sequence[bool]) -> Verdict:
    """Return the verdict on a claim that holds everywhere, nowhere, or here and there."""
    if all(holds):
        return "reproduced"
    return "undecided" if any(holds) else "not reproduced"


def beats(chance: float, hits: int, of: int) -> bool:
    """Return whether there are more hits than chance would have it, by a binomial test."""
    return bool(binomtest(hits, of, chance, alternative="greater").pvalue < LIKELY)


def missing(number: int, claim: str, pictures: Pictures) -> ClaimResult:
    """Return the verdict on a claim for which something was not measured."""
    needed = " and ".join(f"analysis={analysis} in {space}" for space, analysis in pictures)
    return ClaimResult(number, claim, "undecided", f"Not measured: the runs for it, or {needed}, are not there.", ())


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
            summary = run.summary
            key = (summary["search_space"], summary["search"], summary["selection"], int(summary["seed"]))
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

    def table(self, space: str, analysis: str, name: str = "", search: str = "darts") -> Table | None:
        """Return a table of an analysis of all seeds, with a column `seed`; None where it was not made.

        Args:
            space: The search space.
            analysis: Its name.
            name: Of a further table; empty: the main one.
            search: How the supernet was trained.
        """
        made = self._made(space, analysis, search)
        rows: Table = []
        for seed, folder in made:
            text = read_text(folder / f"{name or analysis}.csv", folder, JSON_BYTES)
            rows += [
                {key: _value(text) for key, text in row.items()} | {"seed": seed}
                for row in csv.DictReader(text.splitlines())
            ]
        return rows if made else None

    def picture(self, space: str, analysis: str, search: str = "darts") -> Path | None:
        """Return the picture of an analysis, of the first seed that has it."""
        return next(
            (
                checked(folder / f"{analysis}.png", folder, PICTURE_BYTES)
                for _, folder in self._made(space, analysis, search)
            ),
            None,
        )

    def _made(self, space: str, analysis: str, search: str) -> list[tuple[int, Path]]:
        made: dict[int, Path] = {}
        for (of_space, of_search, _, seed), run in sorted(self.runs.items()):
            folder = run.folder / "analyses" / analysis
            if (of_space, of_search) == (space, search) and (folder / f"{analysis}.png").exists():
                made.setdefault(seed, folder)
        return list(made.items())

    def validation_images(self, space: str) -> int:
        """Return how many images the supernets of a space are validated on: those that train `alpha`."""
        parts = next(run.parts for (of, *_), run in self.runs.items() if of == space)
        return round(len(parts.data.train.labels) * (1 - parts.search.weight_share))

    def sizes(self) -> str:
        """Return in words what was run."""
        groups: dict[str, set[int]] = {}
        for (space, search, selection, seed), _ in self.runs.items():
            groups.setdefault(f"{space}, {search}, {selection}", set()).add(seed)
        return "; ".join(
            f"{name} (seeds {', '.join(map(str, sorted(seeds)))})" for name, seeds in sorted(groups.items())
        )


def differences(better: Mapping[int, float], than: Mapping[int, float]) -> list[float]:
    """Return the differences of the seeds that both have."""
    return [better[seed] - than[seed] for seed in sorted(set(better) & set(than))]


def listed(values: Sequence[float] | Mapping[Any, float], digits: int = 2) -> str:
    """Return numbers separated by slashes."""
    numbers = values.values() if isinstance(values, Mapping) else values
    return " / ".join(f"{value:.{digits}f}" for value in numbers)


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None
