"""What the benchmarks print and write."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table


def show(text: str) -> None:
    """Write a result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def show_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows under a heading, the first column to the left, the others to the right."""
    columns = [
        Column(title, justify="right" if number else "left", no_wrap=True) for number, title in enumerate(heading)
    ]
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    Console(width=200, highlight=False).print(table)


def progress(text: str) -> None:
    """Write what is going on, beside the results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write_json(value: Any, path: str | Path) -> None:
    """Write JSON data, making the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
