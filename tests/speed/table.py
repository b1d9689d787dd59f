"""What the commands print."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows, of which the first is the heading, with their first column to the left, the others to the right.

    A heading may have several lines.
    """
    heading, *body = rows
    parts = [title.split("\n") for title in heading]
    height = max(map(len, parts))
    lines = [*zip(*([""] * (height - len(part)) + part for part in parts), strict=True), *body]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for first, *rest in lines:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        texts.append("   ".join(cells).rstrip())
    return "\n".join([*texts[:height], "-" * max(map(len, texts)), *texts[height:]])


def show(text: str) -> None:
    """Write a result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def progress(text: str) -> None:
    """Write what is going on, beside the results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write_json(records: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Write the records as a list, making the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
