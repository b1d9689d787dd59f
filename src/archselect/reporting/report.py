"""The results of all finished runs under a folder, one row per set of choices, beside the paper's numbers.

    python -m archselect.reporting logs [--output DIR] [--html FILE]

prints a table and writes `report.md` and `report.csv`, and on request one page with every run. A result that several
runs came to (the same command typed again) counts once.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from archselect.results.formatting import balanced, cells, duration, footnotes, headings, millions, spread, star
from archselect.results.grid import Failure, Grid, failures, grids, refusals
from archselect.results.summaries import STAGES, Row, collect, mean_of, rows
from archselect.safe_io.files import printable


def print_grid(grid: Grid, console: Console) -> None:
    """Print a grid that fits a narrow terminal, and under it what the letters and the numbers stand for."""
    table = Table(
        title=escape(grid.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("search")
    letters = dict(zip(grid.selections, ascii_uppercase, strict=False))
    for selection in grid.selections:
        table.add_column(escape(letters.get(selection, selection)), justify="right")
    for search in grid.searches:
        table.add_row(
            escape(search), *(_short(grid.cells.get((search, selection), "")) for selection in grid.selections)
        )
    console.print(table)
    legend = ", ".join(f"{letter}: {selection}" for selection, letter in letters.items())
    notes = [f"{legend}. Mean test accuracy in %, ✓: decided, not evaluated, (n): refused, ·: not run."]
    notes += [f"({number}) {reason}" for number, reason in enumerate(grid.reasons, start=1)]
    for note in notes:
        console.print(escape(note), style="dim", highlight=False)


def _short(words: str) -> str:
    first = words.split(" ")[-1 if words.startswith("refused") else 0]
    return {"decided": "✓", "": "·"}.get(first, first)


def print_failures(failed: Sequence[Failure], console: Console) -> None:
    """Print what failed, and why."""
    if failed:
        console.print(f"Failed runs: {len(failed)}", style="red")
    for one in failed:
        console.print(f"- {escape(str(one))}", highlight=False, soft_wrap=True)


def print_report(report: Sequence[Row], console: Console) -> None:
    """Print `report` as a table that fits a narrow terminal: what belongs together stands in one cell, line by line."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), pad_edge=False)
    for name in (
        "search space\nsearch + selection\nevaluation\ndata",
        "n\nseeds",
        "test accuracy %",
        "params M\nskips %",
        "search\nselection\nevaluation",
        "paper %",
    ):
        table.add_column(name, overflow="fold")
    for row in report:
        table.add_row(*(escape("\n".join(lines)) for lines in _terminal_cells(row)))
    console.print(table)
    for note in footnotes(report):
        console.print(escape(note), style="dim", highlight=False)


def _terminal_cells(row: Row) -> list[list[str]]:
    choices = row.choices
    accuracy = [spread(row)]
    if row.std is not None:
        accuracy.append(f"best of {len(row.results)}: {row.best:.2f}")
    if row.unbalanced:
        accuracy.append(f"balanced: {balanced(row)}")
    if row.ranks:
        accuracy += [f"rank {fmean(row.ranks):.1f}", f"best rank {min(row.ranks)}"]
    return [
        [choices.search_space, f"{choices.search} + {choices.selection}", choices.evaluation, choices.data],
        [f"{len(row.results)}{star(row)}", ",".join(map(str, row.seeds))],
        accuracy,
        [millions(row), f"{100 * row.skip_share:.0f} %"],
        [duration(row.seconds(stage)) for stage in STAGES],
        str(row.paper or "–").replace(" (", "\n(").replace(", ", ",\n").split("\n"),
    ]


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
            from archselect.reporting.html.page import write_page

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
