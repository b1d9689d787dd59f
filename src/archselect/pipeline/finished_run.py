"""Finished runs, opened again: `load_supernet(folder)` and `load_genotype(folder)`, and all else that they left."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from archselect.genotype import Genotype
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline import search_stage
from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.config import Components, instantiate_parts
from archselect.pipeline.own_code import own_sources
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import StageContext, StageResult
from archselect.safe_io.config import check_targets, read_config
from archselect.safe_io.files import read_json
from archselect.store import StageFolder, Store
from archselect.store.key import Kind
from archselect.store.redact_paths import CONFIG, SUMMARY, expand, expand_all, find_runs
from archselect.training.fit import HISTORY

UNSAID = ("params", "fitted")
"""Of an evaluation's result: what a summary has elsewhere, or is of use to `load_network` alone."""


def summarise(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the summary of a run says of what its stages came to, as `STAGE.NAME`."""
    search, evaluation = stages.get("search", {}), stages.get("evaluation", {})
    said = {f"search.{name}": value for name, value in search_stage.summarised(search).items()}
    limits = {name: value for name, value in stages.get("selection", {}).items() if name.startswith("limit")}
    said |= {f"selection.{name}": value for name, value in limits.items()}
    return said | {f"evaluation.{name}": value for name, value in evaluation.items() if name not in UNSAID}


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind: its folder, such as `logs/runs/NAME/DATE`, and its config with what replaces it now."""

    folder: Path
    config: DictConfig

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """What the run came to, as in its summary.json."""
        path = self.folder / SUMMARY
        summary = read_json(path, self.folder)
        stages = summary.get("stages") if isinstance(summary, dict) else None
        if not isinstance(stages, dict) or not all(
            kind in get_args(Kind) and isinstance(stage, dict) for kind, stage in stages.items()
        ):
            raise ValueError(f"{path} is no summary of a run: it does not say what each of its stages came to.")
        return cast(dict[str, Any], summary)

    @cached_property
    def parts(self) -> Components:
        """The parts of the run; raises a `UserError` where an option makes no sense any more."""
        return instantiate_parts(self.config)

    @property
    def genotype(self) -> Genotype:
        """The architecture."""
        return Genotype.from_text(self.summary.get("genotype", ""))

    def stage(self, kind: str) -> StageResult:
        """Return a finished stage; a ValueError says that the run has none, or that its folder is gone."""
        if kind not in self.summary["stages"]:
            has = ", ".join(self.summary["stages"])
            raise ValueError(f"The run {self.folder} has no {kind}; it has {has}. Name a run that has one.")
        path = stage_place(self.folder, kind, self.summary["stages"][kind].get("folder"))
        if not path.exists():
            raise ValueError(
                f"The {kind} of the run {self.folder} is gone: it lay in {path}. Copy runs together with the folder "
                "stages beside them, or type the run's command again."
            )
        folder = StageFolder.found(path)
        return StageResult(folder, folder.result(), reused=True)

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
        return search_stage.snapshots(self.stage("search").folder.path)

    def supernet(self, kind: str = "search", epochs: int | None = None) -> Supernet:
        """Return the supernet as a stage left it, on the CPU.

        Args:
            kind: `search`; or `selection`: tuned between the decisions and discretised by them.
            epochs: As it was after so many epochs of the search, see `snapshots`; None: at the end.
        """
        self.say_changed_code(kind)
        folder = self.stage(kind).folder.path
        if not search_stage.supernet_file(folder).exists():
            raise ValueError(
                f"The {kind} of the run {self.folder} keeps no supernet: selection={self.parts.selection.name} does "
                'not tune it. Take the one of the search: kind="search".'
            )
        return search_stage.load_supernet(self.job(Console(quiet=True)), self.parts.search, folder, epochs)

    def say_changed_code(self, kind: str) -> None:
        """Warn of classes of a user's own whose files are not as they were when a stage was made."""
        then = self.stage(kind).folder.key.identity.get("sources", {})
        now = own_sources(OmegaConf.to_container(self.config)).get("sources", {})
        if changed := [target for target, digest in now.items() if then.get(target, digest) != digest]:
            logging.getLogger(__name__).warning(
                "The files of %s have changed since the %s of %s: what is loaded may compute something else now.",
                ", ".join(changed),
                kind,
                self.folder,
            )

    def job(self, console: Console) -> StageContext:
        """Return what a further stage of this run is given."""
        parts, store = self.parts, Store(self.stage(next(iter(self.summary["stages"]))).folder.root)
        return StageContext(parts.seed, parts.space, parts.data, parts.task, parts.trainer, store, console)


def stage_place(run: Path, kind: str, written: Any) -> Path:
    """Return where a stage of the run in the folder `run` lies: where its link leads, or else where it is said to lie.

    Either way that is `.../stages/KIND/NAME`. A run's own links are relative; one of somebody else's making could lead
    to any folder of this machine, in which analyses would then write: a ValueError says so.
    """
    link = run / kind
    if link.is_symlink() and link.exists():  # a copy that followed the link lost the name of the stage
        if os.path.isabs(os.readlink(link)):
            raise ValueError(
                f"{link} is a link to {os.readlink(link)}. The links of a run are relative, such as "
                f"../../../stages/{kind}/NAME, so that both can be moved together; make it relative."
            )
        place = link.resolve()
    else:
        place = Path(expand(str(written)))
    if place.parts[-3:-1] != ("stages", kind) or ".." in place.parts or place.is_symlink():
        raise ValueError(
            f"The {kind} of the run {run} is said to lie in {place}, which is no folder of a store, "
            f".../stages/{kind}/NAME; nothing there was opened."
        )
    return place


def open_run(folder: str | Path, changes: Mapping[str, Any] | None = None, trusted: Sequence[str] = ()) -> FinishedRun:
    """Return the run in `folder`. That runs no code of whoever made it, whatever its files say.

    What was tried stands in docs/explanation/trust.md.

    Args:
        folder: That of a run, such as `logs/runs/NAME/DATE`, or one that has a single run in it.
        changes: What takes the place of options of the run, such as `{"data": {"path": FOLDER}}` where the images lie
            elsewhere now.
        trusted: Packages besides archselect's whose classes the run may name, such as `["my_package"]`: their code is
            run.

    Raises:
        FileNotFoundError: There is no finished run.
        ValueError: There are several, or the run's config is none that is opened.

    Example:
        >>> run = archselect.open_run(folder)
        >>> run.summary["search"], run.summary["selection"], run.snapshots
        ('darts', 'perturb', [1, 2, 3])
        >>> len(run.history("search")), len(run.decisions)  # 28 edges, and the inputs of six nodes that have a choice
        (3, 34)
    """
    register_resolvers()  # a config names data of the user's own by one
    place = _only_run(folder)
    path = place / CONFIG
    config = read_config(path, place, without="logger")  # the loggers are those of who looks at the run
    check_targets(config, path, trusted)
    merged = OmegaConf.merge(OmegaConf.create(expand_all(with_task(config))), dict(changes or {}))
    assert isinstance(merged, DictConfig)
    return FinishedRun(place, merged)


def changes_of(options: DictConfig) -> dict[str, Any]:
    """Return what a command puts in place of options of a run: `data_path`, and `trainer` if it has that."""
    data = {} if options.data_path is None else {"data": {"path": options.data_path}}
    return data if options.get("trainer") is None else {**data, "trainer": options.trainer}


def with_task(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run with its task; one from before there were tasks classified, by the accuracy."""
    if "task" in config:
        return dict(config)
    selection = {
        name: "metric" if name.endswith("criterion") and value == "accuracy" else value
        for name, value in config.get("selection", {}).items()
    }
    task = {"_target_": "archselect.tasks.Classification", "name": "classification", "class_weights": None}
    return {**config, "selection": selection, "task": task}


def _only_run(folder: str | Path) -> Path:
    places = find_runs(folder)
    if len(places) > 1:
        names = "\n  ".join(map(str, places[:8] + (["..."] if len(places) > 8 else [])))
        raise ValueError(f"{folder} holds {len(places)} finished runs. Name one of them:\n  {names}")
    return places[0]


def load_supernet(
    folder: str | Path, kind: str = "search", epochs: int | None = None, trusted: Sequence[str] = ()
) -> Supernet:
    """Return the supernet of a finished run, on the CPU; see `FinishedRun.supernet` for the arguments.

    Example:
        >>> searched, tuned = archselect.load_supernet(folder), archselect.load_supernet(folder, kind="selection")
        >>> str(tuned.genotype()) == archselect.open_run(folder).summary["genotype"]
        True
        >>> after_an_epoch = archselect.load_supernet(folder, epochs=1)  # of the search: search.snapshots=1
    """
    return open_run(folder, trusted=trusted).supernet(kind, epochs)


def load_genotype(folder: str | Path) -> Genotype:
    """Return the architecture of a finished run; its config is not read.

    Example:
        >>> genotype = archselect.load_genotype(folder)
        >>> genotype.names
        ('normal', 'reduction')
    """
    return FinishedRun(_only_run(folder), OmegaConf.create({})).genotype
