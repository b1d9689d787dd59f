"""What `python analyze.py` left beside runs: a picture and a paragraph per analysis."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archselect.reporting.page.notes import Notes
from archselect.reporting.page.pictures import Picture, Pictures

FOLDER = "analyses"
READING = "reading.md"


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Attributes:
        name: Its name, such as `operation_strength`.
        folder: Where its tables lie.
        paragraphs: Of its reading.
        picture: Its picture; None: it is missing.
    """

    name: str
    folder: Path
    paragraphs: tuple[str, ...]
    picture: Picture | None


def analyses_in(folder: Path, pictures: Pictures, notes: Notes) -> list[Analysis]:
    """Return the analyses that lie in `folder`, such as a run's, in alphabetical order."""
    readings = sorted((folder / FOLDER).glob(f"*/{READING}"))
    return [_analysis(reading, pictures, notes) for reading in readings]


def _analysis(reading: Path, pictures: Pictures, notes: Notes) -> Analysis:
    home, name = reading.parent, reading.parent.name
    text = notes.attempt(f"The reading of the analysis {name}", lambda: reading.read_text(encoding="utf-8"), "")
    picture: Picture | None = notes.attempt(
        f"The picture of the analysis {name}",
        lambda: pictures.add(home / f"{name}.png", f"Analysis: {name.replace('_', ' ')}"),
        None,
    )
    return Analysis(name, home, tuple(part for part in text.split("\n\n") if part.strip()), picture)


def folders_beside(folder: Path, runs: Iterable[Path]) -> list[Path]:
    """Return the folders under `folder` that hold analyses and are no run: those of several runs, such as a sweep's."""
    known = {run.resolve() for run in runs}
    holders = sorted({reading.parents[2] for reading in folder.rglob(f"{FOLDER}/*/{READING}")})
    return [holder for holder in holders if holder.resolve() not in known]
