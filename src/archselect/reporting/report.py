"""The results of all finished runs under a folder, one row per set of choices, beside the paper's numbers.

    python -m archselect.reporting logs [--output DIR] [--html FILE]

prints a table and writes `report.md` and `report.csv`, and on request one page with every run. A result that several
runs came to (the same command typed again) counts once.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from archselect.foreign.files import printable
from archselect.reporting.failures import Failure, failures
from archselect.reporting.grid import Grid, grids, refusals
from archselect.reporting.results import STAGES, Row, collect, mean_of, rows
from archselect.reporting.terminal import print_failures, print_grid, print_report
from archselect.reporting.words import cells, footnotes, headings


def write_report(
    report: Sequence[Row], folder: str | Path, made: Sequence[Grid] = (), failed: Sequence[Failure] = ()
) -> tuple[Path, Path]:
    """Write `report.md`, for reading, and `report.csv`, for further work, into `folder`; return both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    markdown, table = folder / "report.md", folder / "report.csv"
    markdown.write_text(_markdown(report, made, failed), encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        records = [_record(row) for row in report]
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in record.items()} for record in records)
    return markdown, table


def _markdown(report: Sequence[Row], made: Sequence[Grid], failed: Sequence[Failure]) -> str:
    table = _markdown_table(headings(report), [cells(row, report) for row in report])
    notes = "\n".join(f"- {note.replace('*:', '&ast;:')}" for note in footnotes(report))
    failures = "\n## Failed runs\n\n" + "".join(f"- {one}\n".replace("*", "&ast;") for one in failed) if failed else ""
    return f"# Results\n\n{table}\n\n{notes}\n" + "".join(map(_markdown_grid, made)) + failures


def _no_formula(value: object) -> object:
    """Return a value so that no spreadsheet takes it for a formula, which could call other programs."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _plain(text: str) -> str:
    """Return a text so that Markdown does not take it for a table or for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("[", "&#91;")


def _markdown_grid(grid: Grid) -> str:
    rows = [
        [search, *(grid.cells.get((search, selection), "–") for selection in grid.selections)]
        for search in grid.searches
    ]
    table = _markdown_table(["search", *grid.selections], rows)
    reasons = "".join(f"- ({number}) {_plain(reason)}\n" for number, reason in enumerate(grid.reasons, start=1))
    return f"\n## {_plain(grid.title)}\n\n{table}\n\n{reasons}"


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _record(row: Row) -> dict[str, object]:
    """One line of report.csv: numbers as they are, empty where there is none."""
    paper = row.paper
    return {
        **row.choices._asdict(),
        "n": len(row.results),
        "seeds": " ".join(map(str, row.seeds)),
        "mixes_settings": row.mixes_settings,
        "test_accuracy_mean": row.mean,
        "test_accuracy_std": row.std,
        "test_accuracy_best_of_n": row.best,
        "test_balanced_accuracy_mean": row.balanced_mean,
        "rank_mean": mean_of(row.ranks),
        "rank_best": min(row.ranks, default=None),
        "rank_of": row.of,
        "params_mean": row.parameters,
        "skip_share_mean": row.skip_share,
        **{f"{stage}_seconds_mean": row.seconds(stage) for stage in STAGES},
        "paper_accuracy": paper and paper.accuracy,
        "paper_std": paper and paper.std,
        "paper_best": paper and paper.best,
        "paper_of": paper and paper.of,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.reporting", description="Report the finished runs under a folder."
    )
    parser.add_argument("folder", type=Path, help="the folder that holds the runs, e.g. logs")
    parser.add_argument("--output", type=Path, help="where report.md and report.csv go (default: that folder)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write one page with every run to this file")
    options = parser.parse_args(arguments)
    errors = Console(stderr=True)

    def warn(text: str) -> None:
        errors.print(escape(printable(text)), style="yellow")

    try:
        report = rows(collect(options.folder, warn))
        made = grids(report, refusals(options.folder, warn))
        failed = failures(options.folder, warn, {choices for grid in made for choices in grid.refused})
        written = [str(path) for path in write_report(report, options.output or options.folder, made, failed)]
        if options.html is not None:
            # It opens runs, which takes PyTorch: seconds that the tables need not wait for.
            from archselect.reporting.page.page import write_page

            page = write_page(report, made, options.folder, options.html, warn, failed)
            written.append(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
    except OSError as error:
        errors.print(escape(str(error)), style="red")
        if options.folder.is_dir():
            print_failures(failures(options.folder, warn), errors)
        return 1
    console = Console()
    print_report(report, console)
    for grid in made:
        print_grid(grid, console)
    print_failures(failed, console)
    console.print(f"Written: {', '.join(written)}", markup=False, soft_wrap=True)
    return 0
