"""What an analysis wrote, read back."""

import csv
from pathlib import Path


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))
