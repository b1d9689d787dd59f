"""What finished runs and their analyses say, gathered over seeds."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archselect.analysis.base import Table
from archselect.pipeline.finished_run import FinishedRun, open_run
from archselect.results.summaries import RunResult
from archselect.safe_io.files import JSON_BYTES, PICTURE_BYTES, checked, read_text
from archselect.store.redact_paths import find_runs


@dataclass(frozen=True)
class Evidence:
    """The runs below a folder such as `logs/paper/runs`, one per set of choices and seed."""

    folder: Path

    @cached_property
    def runs(self) -> Mapping[tuple[str, str, str, int], FinishedRun]:
        """(space, search, selection, seed) -> the run, in this order."""
        found: dict[tuple[str, str, str, int], FinishedRun] = {}
        for path in find_runs(self.folder):
            run = open_run(path)
            space, search, selection = (str(run.summary[name]) for name in ("search_space", "search", "selection"))
            key = (space, search, selection, int(run.summary["seed"]))
            if key in found:
                raise ValueError(
                    f"{self.folder} holds two runs of {', '.join(map(str, key))}: {found[key].folder} and {path}. "
                    "Name a folder with the runs of one setting."
                )
            found[key] = run
        return dict(sorted(found.items()))

    def accuracy(self, space: str, search: str, selection: str) -> dict[int, float]:
        """Return the test accuracy in percent of every seed: retrained, or on CIFAR-10 in the table."""
        return {
            seed: accuracy
            for (*choices, seed), run in self.runs.items()
            if choices == [space, search, selection]
            and (accuracy := RunResult.from_summary(run.summary, run.folder).accuracy) is not None
        }

    def table(self, space: str, analysis: str) -> Table:
        """Return the main table of an analysis of all supernets that `darts` trained, with a column `seed`.

        No rows where it was not made.
        """
        rows: Table = []
        for seed, folder in self._folders(space, analysis).items():
            text = read_text(folder / f"{analysis}.csv", folder, JSON_BYTES)
            for row in csv.DictReader(text.splitlines()):
                rows.append({name: _value(value) for name, value in row.items()} | {"seed": seed})
        return rows

    def picture(self, space: str, analysis: str) -> Path | None:
        """Return the picture of an analysis, of the first seed that has it."""
        for folder in self._folders(space, analysis).values():
            return checked(folder / f"{analysis}.png", folder, PICTURE_BYTES)
        return None

    def _folders(self, space: str, analysis: str) -> dict[int, Path]:
        made: dict[int, Path] = {}
        for (*choices, _, seed), run in self.runs.items():
            folder = run.folder / "analyses" / analysis
            if choices == [space, "darts"] and (folder / f"{analysis}.png").exists():
                made.setdefault(seed, folder)
        return made

    def validation_images(self, space: str) -> int:
        """Return how many images the supernets of a space are validated on: those that train `alpha`."""
        parts = next(run.parts for (of, *_), run in self.runs.items() if of == space)
        return round(len(parts.data.train.labels) * (1 - parts.search.weight_share))

    def sizes(self) -> str:
        """Return in words what was run."""
        groups: dict[str, list[str]] = {}
        for *choices, seed in self.runs:
            groups.setdefault(", ".join(choices), []).append(str(seed))
        return "; ".join(f"{name} (seeds {', '.join(seeds)})" for name, seeds in groups.items())


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None
