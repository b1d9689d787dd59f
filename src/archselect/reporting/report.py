"""The results of all finished runs under a folder, one row per set of choices, beside the paper's numbers.

    python -m archselect.reporting logs [--costs] [--output DIR] [--html FILE]

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
from archselect.results.costs import PARAMETERS, Cost
from archselect.results.formatting import duration, markdown_table, markdown_text, number
from archselect.results.grid import Failure, Grid, failures, grids
from archselect.results.metric import ACCURACY, Metric
from archselect.results.summaries import STAGES, Row, by_task, collect, rows
from archselect.safe_io.files import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.reporting", description="Report the finished runs under a folder."
    )
    parser.add_argument("folder", type=Path, help="the folder that holds the runs, e.g. logs")
    parser.add_argument("--output", type=Path, help="where report.md and report.csv go (default: that folder)")
    costs = "show peak memory and latency too, beside parameters and MACs (report.csv always has them)"
    parser.add_argument("--costs", action="store_true", help=costs)
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write one page with every run to this file")
    options = parser.parse_args(arguments)
    errors = Console(stderr=True)

    def warn(text: str) -> None:
        errors.print(escape(printable(text)), style="yellow")

    try:
        report = rows(collect(options.folder, warn))
        failed = failures(options.folder, warn)
        tables = grids(report, failed)
        shown = {pair for grid in tables for pair in grid.refused}
        failed = [one for one in failed if not one.refused or (one.task, one.choices) not in shown]
        output = options.output or options.folder
        files = write_report(report, output, tables, failed, options.costs)
        written = [f"{output}/: {', '.join(file.name for file in files)}"]
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
    for title, own in (tasks := by_task(report)):
        _print_report(own, console, title if len(tasks) > 1 else None, options.costs)
    for grid in tables:
        _print_grid(grid, console)
    _print_failures(failed, console)
    for files_or_page in written:
        console.print(f"Written: {files_or_page}", markup=False, soft_wrap=True)
    return 0


# --- The terminal. ---


def _print_report(report: Sequence[Row], console: Console, title: str | None, all_costs: bool) -> None:
    """Print the columns of report.md where they fit side by side, or else what belongs together line by line."""
    columns = formatting.columns(report, all_costs)
    flat = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        heading = fill(column.title, 10 if len(column.title) < 20 else 16)
        flat.add_column(escape(heading), justify="right" if column.numeric else "left", no_wrap=True)
    for row in report:
        flat.add_row(*(escape(column.text(row)) for column in columns))
    fits = Measurement.get(console, console.options.update(width=1000), flat).maximum <= console.width
    if title is not None:
        console.print(escape(title), style="bold", highlight=False)
    console.print(flat if fits else _stacked(report, all_costs))
    _print_notes(formatting.footnotes(report, all_costs), console)


def _stacked(report: Sequence[Row], all_costs: bool) -> Table:
    """Return a table for a narrow terminal: what belongs together stands in one cell, line by line."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), pad_edge=False)
    metric, costs = formatting.metric_of(report), formatting.known_costs(report, all_costs)
    choices, times = "search space\nsearch + selection\nevaluation\ndata", "\n".join(("time:", *STAGES))
    sizes = "\n".join([PARAMETERS.column, *(cost.column for cost in costs if cost is not PARAMETERS), "skips %"])
    paper = ["paper %"] if metric == ACCURACY else []
    for title in (choices, "n\nseeds", f"test {metric.column}", sizes, times, *paper):
        table.add_column(escape(title), overflow="fold")
    for row in report:
        cells = _cells(row, costs)[: 5 + len(paper)]
        table.add_row(*(escape("\n".join(lines)) for lines in cells))
    return table


def _cells(row: Row, costs: Sequence[Cost]) -> list[list[str]]:
    """Return the lines of each cell of a row."""
    space, search, selection, evaluation, data = row.choices
    results = [formatting.spread(row)]
    if row.std is not None:
        results.append(f"best of {len(row.results)}: {row.metric.number(row.best)}")
    if row.unbalanced:
        results.append(f"balanced: {number(row.balanced_accuracy)}")
    if row.ranks:
        results += [f"rank {fmean(row.ranks):.1f}", f"best rank {min(row.ranks)}"]
    further = [cost.number(row.costs[cost.key]) for cost in costs if cost is not PARAMETERS]
    return [
        [space, f"{search} + {selection}", evaluation, data],
        [f"{len(row.results)}{'*' * row.mixes_settings}", ",".join(map(str, row.seeds))],
        results,
        [formatting.millions(row), *further, f"{100 * row.skip_share:.0f} %"],
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
    unit = " in %" if grid.metric.is_share else ""
    legend += f". Mean test {grid.metric.words}{unit}, ✓: decided, not evaluated, (n): refused, ·: not run."
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
    report: Sequence[Row], folder: Path, tables: Sequence[Grid], failed: Sequence[Failure], all_costs: bool = False
) -> tuple[Path, Path]:
    """Write `report.md`, for reading, and `report.csv`, for further work, into `folder`; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, table = folder / "report.md", folder / "report.csv"
    markdown.write_text(_markdown(report, tables, failed, all_costs), encoding="utf-8")
    metrics = dict.fromkeys([ACCURACY, *(row.metric for row in report)])
    records = [_record(row, metrics) for row in report]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in record.items()} for record in records)
    return markdown, table


def _markdown(report: Sequence[Row], tables: Sequence[Grid], failed: Sequence[Failure], all_costs: bool) -> str:
    blocks = ["# Results"]
    for title, own in (tasks := by_task(report)):
        columns = formatting.columns(own, all_costs)
        lines = [[column.text(row) for column in columns] for row in own]
        blocks += [f"## {markdown_text(title)}"] * (len(tasks) > 1)
        blocks.append(markdown_table([column.title for column in columns], lines))
        notes = formatting.footnotes(own, all_costs)
        blocks.append("\n".join(f"- {markdown_text(note).replace('*:', '&ast;:')}" for note in notes))
    for grid in tables:
        lines = [[search, *words] for search, words in grid.lines.items()]
        blocks += [f"## {markdown_text(grid.title)}", markdown_table(["search", *grid.selections], lines)]
        blocks.append("\n".join(f"- {markdown_text(reason)}" for reason in grid.reasons))
    if failed:
        blocks += ["## Failed runs", "\n".join(f"- {markdown_text(one)}".replace("*", "&ast;") for one in failed)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _record(row: Row, metrics: Iterable[Metric]) -> dict[str, object]:
    """One line of report.csv: numbers as they are, empty where there is none, as of other tasks' `metrics`."""
    own = {"mean": row.mean, "std": row.std, "best_of_n": row.best}
    return {
        **row.choices._asdict(),
        "n": len(row.results),
        "seeds": " ".join(map(str, row.seeds)),
        "mixes_settings": row.mixes_settings,
        **{
            f"{metric.key('test')}_{name}": value if metric == row.metric else None
            for metric in metrics
            for name, value in own.items()
        },
        "test_balanced_accuracy_mean": row.balanced_accuracy,
        "rank_mean": fmean(row.ranks) if row.ranks else None,
        "rank_best": min(row.ranks, default=None),
        "rank_of": row.of,
        **{f"{key}_mean": value for key, value in row.costs.items()},
        "skip_share_mean": row.skip_share,
        **{f"{stage}_seconds_mean": seconds for stage, seconds in row.seconds.items()},
        **{f"paper_{field}": getattr(row.paper, field, None) for field in ("accuracy", "std", "best", "of")},
        "task": row.task,
        "metric": row.metric.name,
        "metric_mode": row.metric.mode,
    }


def _no_formula(value: object) -> object:
    """Return a value so that no spreadsheet takes it for a formula, which could call other programs."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
