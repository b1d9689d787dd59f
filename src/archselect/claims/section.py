"""The verdicts as a section of a Markdown file, with their pictures beside it.

    python -m archselect.claims logs/paper/runs --into RESULTS.md --pictures docs/paper

What stands between the section's two marks is replaced; the rest of the file stays as it is.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from archselect.claims.architectures import alpha_is_not_needed, perturbation_repairs
from archselect.claims.evidence import Evidence
from archselect.claims.supernets import (
    magnitude_is_not_strength,
    skips_are_close,
    skips_dominate,
    supernets_unroll,
)
from archselect.claims.verdict import Judged
from archselect.store import replacing

CLAIMS: tuple[Callable[[Evidence], Judged], ...] = (
    magnitude_is_not_strength,
    skips_dominate,
    skips_are_close,
    supernets_unroll,
    perturbation_repairs,
    alpha_is_not_needed,
)

BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"


def section(judged: Sequence[Judged], evidence: Evidence, pictures: Path, beside: Path) -> str:
    """Return the section, and copy the pictures that it shows.

    Args:
        judged: The verdicts.
        evidence: What they rest on.
        pictures: The folder that the pictures go to.
        beside: The folder that the section's links start from.
    """
    lines = ["| | claim | verdict | numbers |", "|---|---|---|---|"]
    lines += [f"| {one.number} | {one.claim} | **{one.verdict}** | {one.numbers} |" for one in judged]
    lines += ["", f"Runs: {evidence.sizes()}.", ""]
    shown: dict[tuple[str, str], int] = {}
    for one in judged:
        for place in one.pictures:
            shown.setdefault(place, one.number)
    for (space, analysis), number in shown.items():
        picture = evidence.picture(space, analysis)
        if picture is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            copy = pictures / f"{space}_{analysis}.png"
            shutil.copyfile(picture, copy)
            lines += [f"![Claim {number}: analysis {analysis} in {space}]({os.path.relpath(copy, beside)})", ""]
    return "\n".join(lines)


def replaced(text: str, new: str) -> str:
    """Return a text with what stands between the marks replaced.

    Raises:
        ValueError: The text has not exactly one pair of marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(
            f"The file must have the marks {BEGIN} and {END} once, in this order, where the section belongs."
        )
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{new.strip()}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.claims", description="Judge the paper's claims by finished runs and their analyses."
    )
    parser.add_argument("folder", type=Path, help="holds the runs, one per setting and seed, e.g. logs/paper/runs")
    parser.add_argument("--into", type=Path, help="a Markdown file with the section's two marks")
    parser.add_argument("--pictures", type=Path, default=Path("docs/paper"), help="where pictures go (%(default)s)")
    options = parser.parse_args(arguments)
    console, errors = Console(highlight=False), Console(stderr=True)
    try:
        evidence = Evidence(options.folder)
        judged = [judge(evidence) for judge in CLAIMS]
        for one in judged:
            console.print(f"{one.number}. {escape(one.claim)}: [bold]{one.verdict}[/]. {escape(one.numbers)}")
        if options.into is not None:
            text = options.into.read_text(encoding="utf-8")
            replaced(text, "")  # before any picture is copied
            new = replaced(text, section(judged, evidence, options.pictures, options.into.parent))
            with replacing(options.into) as file:
                file.write(new.encode())
            console.print(f"Written: {options.into}", markup=False)
    except (OSError, ValueError) as error:
        errors.print(escape(str(error)), style="red")
        return 1
    return 0
