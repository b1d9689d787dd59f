"""What `python analyze.py` left beside runs: a picture and a paragraph per analysis."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archselect.foreign.files import read_text
from archselect.foreign.limits import TEXT_BYTES
from archselect.reporting.page.links import Links
from archselect.reporting.page.notes import Notes
from archselect.reporting.page.pictures import Picture, Pictures

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
