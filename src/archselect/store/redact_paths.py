"""Paths as they are written into what may be passed on, without the name of the user and of the home folder.

`redact` puts `~` for the home folder and `$USER` for the user's name as a folder elsewhere; `expand` puts them back, on
the machine of whoever reads: every path option of a config passes through them. What was typed relative to the working
folder is kept as it was typed.
"""

import getpass
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from archselect.store.atomic_io import write_text

SUMMARY = "summary.json"
CONFIG = Path(".hydra") / "config.yaml"

_END = r"(?![\w.-])"


def redact(text: str) -> str:
    """Return a text with its paths as they are written down."""
    home, user = str(Path.home()), _user()
    if home != os.sep:
        text = re.sub(rf"(?<![\w.~-]){re.escape(home)}{_END}", "~", text)
    return re.sub(rf"(?<=[/\\]){re.escape(user)}{_END}", "$USER", text) if user else text


def expand(text: str) -> str:
    """Return a path as `redact` was given it, for the user and the home folder of this process."""
    if not isinstance(text, str):  # only `logs` comes here unchecked: Hydra makes the folder before the run begins
        raise ValueError(f"logs must be the name of a folder; got {text}.")
    if text == "~" or text.startswith("~/"):
        text = str(Path.home()) + text[1:]
    return re.sub(rf"(?<=/)\$USER{_END}", lambda _: _user(), text)


def redact_all(value: Any, change: Callable[[str], str] = redact) -> Any:
    """Return plain data with all texts as `change` has them."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: redact_all(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(part, change) for part in value]
    return value


def expand_all(value: Any) -> Any:
    """Return plain data with all texts as `expand` has them."""
    return redact_all(value, expand)


def expanded(config: DictConfig) -> DictConfig:
    """Return a config with all texts as `expand` has them; what refers to another option still does."""
    plain = OmegaConf.create(expand_all(OmegaConf.to_container(config)))
    OmegaConf.set_struct(plain, True)
    assert isinstance(plain, DictConfig)
    return plain


def redact_files(*files: Path) -> None:
    """Redact the texts of files, where they exist."""
    for file in files:
        if file.is_file() and (text := redact(old := file.read_text(encoding="utf-8"))) != old:
            write_text(file, text)


def find_runs(folder: str | Path) -> list[Path]:
    """Return the folders of all finished runs in `folder`, itself included.

    Raises:
        FileNotFoundError: There is none.
    """
    folder = Path(expand(str(folder)))
    if (folder / SUMMARY).is_file() and (folder / CONFIG).is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.rglob(SUMMARY) if (path.parent / CONFIG).is_file())
    if not runs:
        what = "holds no finished run" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"The folder {folder} {what}. A run's folder has a summary.json when it is finished; it is the line "
            "below the result of python train.py, such as logs/runs/NAME/DATE."
        )
    return runs


def override(key: str, value: str | Path) -> str:
    """Return the override that gives `key` the text `value`, whatever characters are in it."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(value))  # an interpolation to OmegaConf
    text = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + (r"\'" if match[2] else ""), text)
    return f"{key}='{text}'"


class Formatter(logging.Formatter):
    """Of the log in a run's folder, with paths as they are written down."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
