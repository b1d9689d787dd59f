"""The report on the terminal: tables that fit a narrow one."""

from collections.abc import Sequence
from statistics import fmean
from string import ascii_uppercase

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from archselect.reporting.failures import Failure
from archselect.reporting.grid import Grid
from archselect.reporting.results import STAGES, Row
from archselect.reporting.words import balanced, duration, footnotes, millions, spread, star


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
