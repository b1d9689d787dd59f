"""The results of all finished runs under a folder, one row per set of choices, beside the paper's numbers.

    python -m archselect.reporting logs [--output DIR] [--html FILE]

prints a table and writes `report.md` and `report.csv`, and on request one page with every run. A result that several
runs came to (the same command typed again) counts once.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase
from textwrap import fill

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from archselect.results import formatting
from archselect.results.formatting import duration, markdown_table, markdown_text, number
from archselect.results.grid import Failure, Grid, failures, grids
from archselect.results.summaries import STAGES, Row, collect, rows
from archselect.safe_io.files import printable


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
        failed = failures(options.folder, warn)
        tables = grids(report, failed)
        shown = {choices for grid in tables for choices in grid.refused}
        failed = [one for one in failed if not one.refused or one.choices not in shown]
        written = [str(path) for path in write_report(report, options.output or options.folder, tables, failed)]
        if options.html is not None:
            # It opens runs, which takes PyTorch: seconds that the tables need not wait for.
            from archselect.reporting.html.page import write_page

            write_page(report, tables, options.folder, options.html, warn, failed)
            written.append(f"{options.html} ({options.html.stat().st_size / 1e6:.1f} MB)")
    except OSError as error:
        errors.print(escape(str(error)), style="red")
        if options.folder.is_dir():
            _print_failures(failures(options.folder, warn), errors)
        return 1
    console = Console()
    _print_report(report, console)
    for grid in tables:
        _print_grid(grid, console)
    _print_failures(failed, console)
    console.print(f"Written: {', '.join(written)}", markup=False, soft_wrap=True)
    return 0


# --- The terminal. ---


def _print_report(report: Sequence[Row], console: Console) -> None:
    """Print the columns of report.md where they fit side by side, or else what belongs together line by line."""
    columns = formatting.columns(report)
    flat = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        title = fill(column.title, 10 if len(column.title) < 20 else 16)
        flat.add_column(title, justify="right" if column.numeric else "left", no_wrap=True)
    for row in report:
        flat.add_row(*(escape(column.text(row)) for column in columns))
    fits = Measurement.get(console, console.options.update(width=1000), flat).maximum <= console.width
    console.print(flat if fits else _stacked(report))
    _print_notes(formatting.footnotes(report), console)


def _stacked(report: Sequence[Row]) -> Table:
    """Return a table for a narrow terminal: what belongs together stands in one cell, line by line."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), pad_edge=False)
    choices, times = "search space\nsearch + selection\nevaluation\ndata", "\n".join(("time:", *STAGES))
    for title in (choices, "n\nseeds", "test accuracy %", "params M\nskips %", times, "paper %"):
        table.add_column(title, overflow="fold")
    for row in report:
        table.add_row(*(escape("\n".join(lines)) for lines in _cells(row)))
    return table


def _cells(row: Row) -> list[list[str]]:
    """Return the lines of each cell of a row."""
    space, search, selection, evaluation, data = row.choices
    accuracy = [formatting.spread(row)]
    if row.std is not None:
        accuracy.append(f"best of {len(row.results)}: {number(row.best)}")
    if row.unbalanced:
        accuracy.append(f"balanced: {number(row.balanced_accuracy)}")
    if row.ranks:
        accuracy += [f"rank {fmean(row.ranks):.1f}", f"best rank {min(row.ranks)}"]
    return [
        [space, f"{search} + {selection}", evaluation, data],
        [f"{len(row.results)}{'*' * row.mixes_settings}", ",".join(map(str, row.seeds))],
        accuracy,
        [formatting.millions(row), f"{100 * row.skip_share:.0f} %"],
        [duration(row.seconds[stage]) for stage in STAGES],
        [str(row.paper or "–").replace(" (", "\n(").replace(", ", ",\n")],
    ]


def _print_grid(grid: Grid, console: Console) -> None:
    """Print a grid that fits a narrow terminal, and under it what the letters and the numbers stand for."""
    table = Table(
        title=escape(grid.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("search")
    letters = dict(zip(grid.selections, ascii_uppercase, strict=False))
    for selection in grid.selections:
        table.add_column(escape(letters.get(selection, selection)), justify="right")
    for search, words in grid.lines.items():
        table.add_row(escape(search), *map(_short, words))
    console.print(table)
    legend = ", ".join(f"{letter}: {selection}" for selection, letter in letters.items())
    legend += ". Mean test accuracy in %, ✓: decided, not evaluated, (n): refused, ·: not run."
    _print_notes([legend, *grid.reasons], console)


def _short(words: str) -> str:
    """Return the number of a refusal, the mean of several results, a sign for what has no number."""
    first = words.split(" ")[-1 if words.startswith("refused") else 0]
    return {"decided": "✓", "–": "·"}.get(first, first)


def _print_notes(notes: Iterable[str], console: Console) -> None:
    for note in notes:
        console.print(escape(note), style="dim", highlight=False)


def _print_failures(failed: Sequence[Failure], console: Console) -> None:
    if failed:
        console.print(f"Failed runs: {len(failed)}", style="red")
    for one in failed:
        console.print(f"- {escape(str(one))}", highlight=False, soft_wrap=True)


# --- The files. ---


def write_report(
    report: Sequence[Row], folder: Path, tables: Sequence[Grid], failed: Sequence[Failure]
) -> tuple[Path, Path]:
    """Write `report.md`, for reading, and `report.csv`, for further work, into `folder`; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, table = folder / "report.md", folder / "report.csv"
    markdown.write_text(_markdown(report, tables, failed), encoding="utf-8")
    records = [_record(row) for row in report]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in record.items()} for record in records)
    return markdown, table


def _markdown(report: Sequence[Row], tables: Sequence[Grid], failed: Sequence[Failure]) -> str:
    columns = formatting.columns(report)
    lines = [[column.text(row) for column in columns] for row in report]
    blocks = ["# Results", markdown_table([column.title for column in columns], lines)]
    blocks.append("\n".join(f"- {note.replace('*:', '&ast;:')}" for note in formatting.footnotes(report)))
    for grid in tables:
        lines = [[search, *words] for search, words in grid.lines.items()]
        blocks += [f"## {markdown_text(grid.title)}", markdown_table(["search", *grid.selections], lines)]
        blocks.append("\n".join(f"- {markdown_text(reason)}" for reason in grid.reasons))
    if failed:
        blocks += ["## Failed runs", "\n".join(f"- {markdown_text(one)}".replace("*", "&ast;") for one in failed)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _record(row: Row) -> dict[str, object]:
    """One line of report.csv: numbers as they are, empty where there is none."""
    return {
        **row.choices._asdict(),
        "n": len(row.results),
        "seeds": " ".join(map(str, row.seeds)),
        "mixes_settings": row.mixes_settings,
        "test_accuracy_mean": row.accuracy,
        "test_accuracy_std": row.std,
        "test_accuracy_best_of_n": row.best,
        "test_balanced_accuracy_mean": row.balanced_accuracy,
        "rank_mean": fmean(row.ranks) if row.ranks else None,
        "rank_best": min(row.ranks, default=None),
        "rank_of": row.of,
        "params_mean": row.parameters,
        "skip_share_mean": row.skip_share,
        **{f"{stage}_seconds_mean": seconds for stage, seconds in row.seconds.items()},
        **{f"paper_{field}": getattr(row.paper, field, None) for field in ("accuracy", "std", "best", "of")},
    }


def _no_formula(value: object) -> object:
    """Return a value so that no spreadsheet takes it for a formula, which could call other programs."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
