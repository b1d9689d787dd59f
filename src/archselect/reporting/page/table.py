"""The summary table of the page: the columns of report.md, and what each is sorted by."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from archselect.reporting.results import STAGES, Choices, Row
from archselect.reporting.words import BALANCED, cells, headings

SEEDS = "n (seeds)"
_UNIT = re.compile(r"(?<=\d) (s|min|h)\b")
"""A unit stays on the line of its number."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it shows.
        key: What it is sorted by; None: it is missing and stands last.
        links: The runs of the row, as `(seed, anchor)`, where the cell leads to them.
    """

    text: str
    key: str | float | None
    links: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Column:
    """One column; a numeric one is sorted by number and stands to the right."""

    title: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """The summary table: per line what a filter looks through, and its cells."""

    columns: tuple[Column, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]


def summary_table(report: Sequence[Row], anchors: Mapping[Path, str]) -> Table:
    """Return the table of `report`, whose lines lead to the anchors of their runs' folders."""
    titles = headings(report)
    lines = []
    for row in report:
        made = {
            title: Cell(_UNIT.sub("\u00a0\\1", text), key)
            for title, text, key in zip(titles, cells(row, report), _keys(row, titles), strict=True)
        }
        own = sorted(row.results, key=lambda result: result.seed)
        made[SEEDS] = replace(made[SEEDS], links=tuple((result.seed, anchors[result.runs[-1]]) for result in own))
        words = " ".join([*row.choices, *(f"seed {seed}" for seed in row.seeds)])
        lines.append((words, tuple(made.values())))
    columns = tuple(Column(title, index >= len(Choices._fields)) for index, title in enumerate(titles))
    return Table(columns, tuple(lines))


def _keys(row: Row, titles: Sequence[str]) -> list[str | float | None]:
    seconds = [row.seconds(stage) for stage in STAGES]
    known = [value for value in seconds if value is not None]
    rank = [fmean(row.ranks) if row.ranks else None] if any("rank" in title for title in titles) else []
    return [
        *row.choices,
        len(row.results),
        row.mean,
        row.best,
        *([row.balanced_mean] if BALANCED in titles else []),
        *rank,
        row.parameters,
        row.skip_share,
        sum(known) if known else None,
        row.paper.accuracy if row.paper else None,
    ]
