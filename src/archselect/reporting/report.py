"""The results of all finished runs under a folder, one row per set of choices, beside the paper's numbers.

    python -m archselect.reporting logs [--output DIR]

prints a table and writes `report.md` and `report.csv`. A result that several runs came to (the same command typed
again) counts once.
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

from archselect.reporting.grid import Grid, grids, refusals
from archselect.reporting.results import STAGES, Row, collect, mean_of, rows


def print_grid(grid: Grid, console: Console) -> None:
    """Print a grid that fits a narrow terminal, and under it what the letters and the numbers stand for."""
    table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("search")
    letters = dict(zip(grid.selections, ascii_uppercase, strict=False))
    for selection in grid.selections:
        table.add_column(letters.get(selection, selection), justify="right")
    for search in grid.searches:
        table.add_row(search, *(_short(grid.cells.get((search, selection), "")) for selection in grid.selections))
    console.print(table)
    legend = ", ".join(f"{letter}: {selection}" for selection, letter in letters.items())
    notes = [f"{legend}. Mean test accuracy in %, ✓: decided, not evaluated, (n): refused, ·: not run."]
    notes += [f"({number}) {reason}" for number, reason in enumerate(grid.reasons, start=1)]
    for note in notes:
        console.print(escape(note), style="dim", highlight=False)


def _short(words: str) -> str:
    first = words.split(" ")[-1 if words.startswith("refused") else 0]
    return {"decided": "✓", "": "·"}.get(first, first)


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
    for note in _footnotes(report):
        console.print(escape(note), style="dim", highlight=False)


def _terminal_cells(row: Row) -> list[list[str]]:
    choices = row.choices
    accuracy = [_spread(row)]
    if row.std is not None:
        accuracy.append(f"best of {len(row.results)}: {row.best:.2f}")
    if row.ranks:
        accuracy += [f"rank {fmean(row.ranks):.1f}", f"best rank {min(row.ranks)}"]
    return [
        [choices.search_space, f"{choices.search} + {choices.selection}", choices.evaluation, choices.data],
        [f"{len(row.results)}{_star(row)}", ",".join(map(str, row.seeds))],
        accuracy,
        [_millions(row), f"{100 * row.skip_share:.0f} %"],
        [_duration(row.seconds(stage)) for stage in STAGES],
        str(row.paper or "–").replace(" (", "\n(").replace(", ", ",\n").split("\n"),
    ]


def write_report(report: Sequence[Row], folder: str | Path, made: Sequence[Grid] = ()) -> tuple[Path, Path]:
    """Write `report.md`, for reading, and `report.csv`, for further work, into `folder`; return both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    markdown, table = folder / "report.md", folder / "report.csv"
    markdown.write_text(_markdown(report, made), encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        records = [_record(row) for row in report]
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return markdown, table


def _headings(report: Sequence[Row]) -> list[str]:
    rank = ["mean rank (best)"] if any(row.ranks for row in report) else []
    choices = ("search space", "search", "selection", "evaluation", "data")
    numbers = ("n (seeds)", "test accuracy %", "best of n %", *rank, "params M", "skips %")
    return [*choices, *numbers, "time: search + selection + evaluation", "paper %"]


def _cells(row: Row, report: Sequence[Row]) -> list[str]:
    rank = f"{fmean(row.ranks):.1f} ({min(row.ranks)}) of {row.of}" if row.ranks else "–"
    return [
        *row.choices,
        f"{len(row.results)} ({','.join(map(str, row.seeds))}){_star(row)}",
        _spread(row),
        "–" if row.best is None else f"{row.best:.2f}",
        *([rank] if any(other.ranks for other in report) else []),
        _millions(row),
        f"{100 * row.skip_share:.0f}",
        " + ".join(_duration(row.seconds(stage)) for stage in STAGES),
        str(row.paper or "–"),
    ]


def _star(row: Row) -> str:
    return "*" if row.mixes_settings else ""


def _spread(row: Row) -> str:
    if row.mean is None:
        return "–"
    return f"{row.mean:.2f}" if row.std is None else f"{row.mean:.2f} ± {row.std:.2f}"


def _millions(row: Row) -> str:
    return "–" if row.parameters is None else f"{row.parameters / 1e6:.2f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _footnotes(report: Sequence[Row]) -> list[str]:
    notes = ["n: number of results; ±: sample standard deviation over them; best of n: the luckiest of them."]
    if any(row.mixes_settings for row in report):
        notes.append(
            "*: a seed occurs more than once, so this row averages runs of different settings (epochs, sizes, ...); "
            "report the folders of one setting alone."
        )
    if any(row.ranks for row in report):
        notes.append(
            "rank: place of the cell by CIFAR-10 test accuracy in NAS-Bench-201 (1 = best); the accuracy beside it is "
            "the table's on the row's data, or on CIFAR-10 where the table lacks them."
        )
    if any(row.paper for row in report):
        notes.append(
            "paper: Wang et al., ICLR 2021 (arXiv 2108.04392), as test accuracy, under its full protocol of search and "
            "retraining. Runs on a smaller scale (fewer epochs or images, a smaller network) are not comparable."
        )
    return notes


def _markdown(report: Sequence[Row], made: Sequence[Grid]) -> str:
    table = _markdown_table(_headings(report), [_cells(row, report) for row in report])
    notes = "\n".join(f"- {note.replace('*:', '&ast;:')}" for note in _footnotes(report))
    return f"# Results\n\n{table}\n\n{notes}\n" + "".join(map(_markdown_grid, made))


def _markdown_grid(grid: Grid) -> str:
    rows = [
        [search, *(grid.cells.get((search, selection), "–") for selection in grid.selections)]
        for search in grid.searches
    ]
    table = _markdown_table(["search", *grid.selections], rows)
    reasons = "".join(f"- ({number}) {reason}\n" for number, reason in enumerate(grid.reasons, start=1))
    return f"\n## {grid.title}\n\n{table}\n\n{reasons}"


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


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
    options = parser.parse_args(arguments)
    errors = Console(stderr=True)
    try:
        results = collect(options.folder, warn=lambda text: errors.print(escape(text), style="yellow"))
        report = rows(results)
        made = grids(report, refusals(options.folder))
        written = write_report(report, options.output or options.folder, made)
    except OSError as error:
        errors.print(escape(str(error)), style="red")
        return 1
    console = Console()
    print_report(report, console)
    for grid in made:
        print_grid(grid, console)
    console.print(f"Written: {', '.join(map(str, written))}", markup=False, soft_wrap=True)
    return 0
