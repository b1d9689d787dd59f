"""Finished runs, opened again: `load_supernet(folder)` and `load_genotype(folder)`, and all else that they left."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from archselect.config import Parts, instantiate_parts
from archselect.genotype import Genotype
from archselect.networks.supernet import Supernet
from archselect.stages.fitting import HISTORY
from archselect.stages.job import Finished, Job
from archselect.stages.search import SUPERNET, snapshots
from archselect.stages.search import load_supernet as load_stage_supernet
from archselect.stages.selection import DECISIONS
from archselect.store import StageFolder, Store

SUMMARY = "summary.json"
CONFIG = Path(".hydra") / "config.yaml"


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind.

    Attributes:
        folder: The run's folder, such as `logs/runs/NAME/DATE`.
        config: The config as it was composed, with what was put in place of it now.
    """

    folder: Path
    config: DictConfig

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """What the run came to, as in its summary.json."""
        summary: dict[str, Any] = json.loads((self.folder / SUMMARY).read_text(encoding="utf-8"))
        return summary

    @cached_property
    def parts(self) -> Parts:
        """The parts of the run; raises a `RunError` where an option makes no sense any more."""
        return instantiate_parts(self.config)

    @property
    def genotype(self) -> Genotype:
        """The architecture."""
        return Genotype.from_text(self.summary["genotype"])

    def stage(self, kind: str) -> Finished:
        """Return a finished stage.

        Raises:
            ValueError: The run has no such stage, or its folder is gone.
        """
        if kind not in self.summary["stages"]:
            has = ", ".join(self.summary["stages"])
            raise ValueError(f"The run {self.folder} has no {kind}; it has {has}. Name a run that has one.")
        path = self.folder / kind
        if not (path.is_symlink() and path.exists()):  # a copy that followed the link lost the name of the stage
            path = Path(self.summary["stages"][kind]["folder"])
        if not path.exists():
            raise ValueError(
                f"The {kind} of the run {self.folder} is gone: it lay in {path}. Copy runs together with the folder "
                "stages beside them, or type the run's command again."
            )
        folder = StageFolder.found(path)
        return Finished(folder, folder.result(), reused=True)

    def history(self, kind: str) -> list[dict[str, Any]]:
        """Return a stage's records, one per epoch: metrics and, of a supernet, its mixture weights."""
        return self.stage(kind).folder.read_lines(HISTORY)

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """The decisions of the selection, with the scores behind them."""
        return self.stage("selection").folder.read_lines(DECISIONS)

    @property
    def space(self) -> dict[str, Any]:
        """The edges and candidates of each cell type."""
        return self.parts.space.describe()

    @property
    def snapshots(self) -> list[int]:
        """After how many epochs of the search the supernet was kept, besides at its end."""
        return snapshots(self.stage("search").folder.path)

    def supernet(self, kind: str = "search", epochs: int | None = None) -> Supernet:
        """Return the supernet as a stage left it, on the CPU.

        Args:
            kind: `search`; or `selection`: tuned between the decisions and discretised by them.
            epochs: As it was after so many epochs of the search, see `snapshots`; None: at the end.
        """
        folder = self.stage(kind).folder.path
        if not (folder / SUPERNET).exists():
            raise ValueError(
                f"The {kind} of the run {self.folder} keeps no supernet: selection={self.parts.selection.name} does "
                'not tune it. Take the one of the search: kind="search".'
            )
        return load_stage_supernet(self.job(Console(quiet=True)), self.parts.search, folder, epochs)

    def job(self, console: Console) -> Job:
        """Return what a further stage of this run is given."""
        parts = self.parts
        store = Store(self.stage(next(iter(self.summary["stages"]))).folder.root)
        return Job(parts.seed, parts.space, parts.data, parts.trainer, store, console, lambda kind, record: None)


def open_run(folder: str | Path, changes: Mapping[str, Any] | None = None) -> FinishedRun:
    """Return the run in `folder`.

    Args:
        folder: That of a run, such as `logs/runs/NAME/DATE`, or one that has a single run in it.
        changes: What takes the place of options of the run, such as `{"data": {"path": FOLDER}}` where the images lie
            elsewhere now.

    Raises:
        FileNotFoundError: There is no finished run.
        ValueError: There are several.
    """
    found = find_runs(folder)
    if len(found) > 1:
        names = "\n  ".join(map(str, found[:8] + (["..."] if len(found) > 8 else [])))
        raise ValueError(f"{folder} holds {len(found)} finished runs. Name one of them:\n  {names}")
    config = OmegaConf.load(found[0] / CONFIG)
    assert isinstance(config, DictConfig)
    merged = OmegaConf.merge(config, dict(changes or {}))
    assert isinstance(merged, DictConfig)
    return FinishedRun(found[0], merged)


def find_runs(folder: str | Path) -> list[Path]:
    """Return the folders of all finished runs in `folder`, itself included.

    Raises:
        FileNotFoundError: There is none.
    """
    folder = Path(folder)
    if (folder / SUMMARY).is_file() and (folder / CONFIG).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.rglob(SUMMARY) if (path.parent / CONFIG).is_file())
    if not found:
        what = "holds no finished run" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"The folder {folder} {what}. A run's folder has a summary.json when it is finished; it is the last line "
            "that python train.py prints, such as logs/runs/NAME/DATE."
        )
    return found


def load_supernet(folder: str | Path, kind: str = "search", epochs: int | None = None) -> Supernet:
    """Return the supernet of a finished run; see `open_run` and `FinishedRun.supernet`."""
    return open_run(folder).supernet(kind, epochs)


def load_genotype(folder: str | Path) -> Genotype:
    """Return the architecture of a finished run; see `open_run`."""
    return open_run(folder).genotype
