"""JSON that may come from somebody else."""

import json
from pathlib import Path
from typing import Any

from archselect.foreign.files import read_text
from archselect.foreign.limits import JSON_BYTES, JSON_DEPTH


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: It is no JSON, or nested too deeply to be worked with.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    within = [value]
    for _ in range(JSON_DEPTH + 1):
        within = [part for part in within if isinstance(part, dict | list)]
        if not within:
            return value
        within = [part for whole in within for part in (whole.values() if isinstance(whole, dict) else whole)]
    raise ValueError(_too_deep())


def read_json(path: Path, root: Path) -> Any:
    """Return what the JSON file at `path` says; see `files.checked`.

    Raises:
        ValueError: It is no such file, or no JSON.
    """
    text = read_text(path, root, JSON_BYTES)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from error


def _too_deep() -> str:
    return f"it is nested more than {JSON_DEPTH} deep"
