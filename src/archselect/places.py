"""Paths as they are written into what may be passed on: without the name of the user and of his home folder.

`written` puts `~` for the home folder and `$USER` for the user's name as a folder elsewhere; `found` puts them back, on
the machine of whoever reads. What was typed relative to the working folder is kept as it was typed.
"""

import getpass
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archselect.store.durable import replacing

_END = r"(?![\w.-])"


def written(text: str) -> str:
    """Return a text with its paths as they are written down."""
    home, user = str(Path.home()), _user()
    if home != os.sep:
        text = re.sub(re.escape(home) + _END, "~", text)
    return re.sub(rf"(?<=[/\\]){re.escape(user)}{_END}", "$USER", text) if user else text


def found(text: str) -> str:
    """Return a path as `written` was given it, for the user and the home folder of this process."""
    if text == "~" or text.startswith("~/"):
        text = str(Path.home()) + text[1:]
    return text.replace("/$USER", f"/{_user()}") if text.startswith("/") else text


def all_written(value: Any) -> Any:
    """Return plain data with all texts as `written` has them."""
    return _each(value, written)


def all_found(value: Any) -> Any:
    """Return plain data with all texts as `found` has them."""
    return _each(value, found)


def rewrite(*files: Path) -> None:
    """Put the texts of files, where they exist, in the form of `written`."""
    for file in files:
        if file.is_file() and (text := written(old := file.read_text(encoding="utf-8"))) != old:
            with replacing(file) as stream:
                stream.write(text.encode())


class Formatter(logging.Formatter):
    """Of the log in a run's folder."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with paths as they are written down."""
        return written(super().format(record))


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_each(part, change) for part in value]
    return value


def _user() -> str:
    """Return the user's name; empty: it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
