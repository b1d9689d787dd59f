"""The tables of the page: the summary, and what `python analyze.py` left beside runs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from archselect.reporting.html.parts import Links, Notes, Picture, Pictures
from archselect.results.formatting import BALANCED, cells, headings
from archselect.results.summaries import STAGES, Choices, Row
from archselect.safe_io.files import TEXT_BYTES, read_text

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


FOLDER = "analyses"
READING = "reading.md"


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Attributes:
        name: Its name, such as `operation_strength`.
        folder: Where it lies.
        link: To the folder.
        tables: Names of its tables, and the links to them.
        paragraphs: Of its reading.
        picture: Its picture; None: it is missing.
    """

    name: str
    folder: Path
    link: str | None
    tables: tuple[tuple[str, str | None], ...]
    paragraphs: tuple[str, ...]
    picture: Picture | None


def analyses_in(folder: Path, pictures: Pictures, links: Links, notes: Notes) -> list[Analysis]:
    """Return the analyses that lie in `folder`, such as a run's, in alphabetical order."""
    homes = sorted(home for home in (folder / FOLDER).glob("*") if any(map(Path.exists, _files(home))))
    return [_analysis(home, folder, pictures, links, notes) for home in homes]


def _files(home: Path) -> list[Path]:
    """Return what an analysis leaves in its folder; one that has none of it is a folder of something else."""
    return [home / READING, home / f"{home.name}.png", home / f"{home.name}.csv"]


def _analysis(home: Path, folder: Path, pictures: Pictures, links: Links, notes: Notes) -> Analysis:
    name = home.name
    text = notes.attempt(
        f"The reading of the analysis {name}", lambda: read_text(home / READING, folder, TEXT_BYTES), ""
    )
    picture: Picture | None = notes.attempt(
        f"The picture of the analysis {name}",
        lambda: pictures.add(home / f"{name}.png", folder, f"Analysis: {name.replace('_', ' ')}"),
        None,
    )
    tables = tuple((table.name, links.to(table)) for table in sorted(home.glob("*.csv")))
    if not tables:
        notes.add(f"The analysis {name} has no table: there is no .csv in {home}.")
    paragraphs = tuple(part for part in text.split("\n\n") if part.strip())
    return Analysis(name, home, links.to(home), tables, paragraphs, picture)


def folders_beside(folder: Path, runs: Iterable[Path]) -> list[Path]:
    """Return the folders under `folder` that hold analyses and are no run: those of several runs, such as a sweep's."""
    known = {run.resolve() for run in runs}
    holders = sorted({reading.parents[2] for reading in folder.rglob(f"{FOLDER}/*/{READING}")})
    return [holder for holder in holders if holder.resolve() not in known]
