"""Runs that failed: why, written into their folders, and read again for a report."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from archselect.foreign.files import printable, read_text
from archselect.foreign.json import read_json
from archselect.foreign.limits import TEXT_BYTES
from archselect.reporting.grid import MAXIMUM_REASON, REFUSED
from archselect.reporting.results import Choices, named, reason
from archselect.store import replacing

FAILED = "failed.json"
OVERRIDES = Path(".hydra", "overrides.yaml")


@dataclass(frozen=True)
class Failure:
    """A run that came to nothing.

    Attributes:
        choices: Its choices.
        seed: Its seed, which may be what was wrong with it.
        reason: What it said.
        folder: Where it lies.
    """

    choices: Choices
    seed: str
    reason: str
    folder: Path

    def __str__(self) -> str:
        """Return it as a line of a report."""
        space, search, selection, evaluation, data = self.choices
        return f"{space}, {search} + {selection}, {evaluation}, {data}, seed {self.seed}: {self.reason} ({self.folder})"


def keep_failure(folder: Path, config: DictConfig, why: str, name: str = FAILED) -> None:
    """Write down in the folder of a run that it failed (`FAILED`) or was refused (`REFUSED`), and why."""
    choices = {group: config[group].name for group in ("search_space", "search", "selection", "evaluation", "data")}
    with replacing(folder / name) as file:
        file.write((json.dumps({**choices, "seed": config.seed, "reason": why}, indent=2) + "\n").encode())


def forget_failure(folder: Path) -> None:
    """Begin anew in the folder of a run that may have failed before."""
    for name in (FAILED, REFUSED):
        (folder / name).unlink(missing_ok=True)


def failures(folder: str | Path, warn: Callable[[str], None], known: Collection[Choices] = ()) -> list[Failure]:
    """Return the runs under `folder` that failed or were refused.

    Left out are those of which the same overrides came to an end another time.

    Args:
        folder: Where the runs lie.
        warn: Told of a file that says nothing.
        known: Choices whose refusal the report shows already.
    """
    found = sorted(path for name in (FAILED, REFUSED) for path in Path(folder).rglob(name))
    if not found:
        return []
    finished = {_overrides(path.parent) for path in Path(folder).rglob("summary.json")}
    made = []
    for path in found:
        try:
            record = read_json(path, path.parent)
            choices = Choices(*(named(record[name], name) for name in Choices._fields))
            seed, why = (printable(str(record[name]))[:MAXIMUM_REASON] for name in ("seed", "reason"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            warn(f"Left out {path}, which does not say what failed: {reason(error)}.")
            continue
        overrides = _overrides(path.parent)
        if (overrides and overrides in finished) or (path.name == REFUSED and choices in known):
            continue
        made.append(Failure(choices, seed, why, path.parent))
    return made


def _overrides(run: Path) -> tuple[str, ...]:
    file = run / OVERRIDES
    if not file.is_file():
        return ()
    return tuple(sorted(read_text(file, run, TEXT_BYTES).splitlines()))
