"""What an analysis wrote, read back."""

import csv
from collections.abc import Callable
from pathlib import Path

Gather = Callable[..., Path]
"""The fixture `gathered`."""


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))
