"""The command line: a file is read with its progress shown, and the table written as a whole or not at all."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from archselect.evaluation.convert.files import open_benchmark
from archselect.evaluation.convert.stand_ins import ConversionError
from archselect.evaluation.convert.table import CELLS, benchmark_table
from archselect.store import atomic_write


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.evaluation.convert",
        description="Make the NAS-Bench-201 table from the benchmark's own files; nothing in them is run.",
    )
    parser.add_argument("file", type=Path, help="the .pth or .pickle.pbz2 file, or the -simple folder")
    parser.add_argument("--out", type=Path, required=True, help="the table: a .csv or a .parquet file")
    parser.add_argument("--overwrite", action="store_true", help="replace the table that is there")
    parser.add_argument(
        "--incomplete", action="store_true", help=f"write it though some of the {len(CELLS):,} are missing"
    )
    options = parser.parse_args(arguments)
    console, errors = Console(highlight=False), Console(stderr=True)
    try:
        _check(options.out, options.overwrite)
        table = convert(options.file, errors, options.incomplete)
        with atomic_write(options.out) as file:
            table.to_csv(file, index=False) if options.out.suffix == ".csv" else table.to_parquet(file, index=False)
    except (OSError, ValueError) as error:
        errors.print(escape(str(error)), style="red", soft_wrap=True)
        return 1
    console.print(f"Written: {options.out}, {len(table):,} architectures", markup=False, soft_wrap=True)
    return 0


def convert(path: Path, console: Console, incomplete: bool = False) -> pd.DataFrame:
    """Return the table of a benchmark's file or folder.

    Args:
        path: The file or folder.
        console: Where the progress is shown.
        incomplete: Whether architectures may be missing.

    Raises:
        ConversionError: It is not the benchmark, is damaged, or lacks architectures.
        FileNotFoundError: There is nothing.
    """
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as progress:
        task = progress.add_task(escape(path.name), total=None)
        benchmark = open_benchmark(path, lambda done, total: progress.update(task, completed=done, total=total))
        table = benchmark_table(benchmark, str(path), incomplete)
        progress.update(task, completed=1, total=1)
    return table


def _check(out: Path, overwrite: bool) -> None:
    if out.suffix not in (".csv", ".parquet"):
        raise ConversionError(f"The table is a .csv or a .parquet file; --out is {out}.")
    if not out.parent.is_dir():
        raise ConversionError(f"There is no folder {out.parent} for the table. Make it, or name another with --out.")
    if out.exists() and not overwrite:
        raise ConversionError(f"{out} is there already. Name another file with --out, or add --overwrite.")
