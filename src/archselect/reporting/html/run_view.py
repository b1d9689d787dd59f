"""What one run shows on the page: everything that its folder and its stages have, and sentences on what they lack."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from archselect.pipeline.finished_run import FinishedRun, stage_place
from archselect.reporting.html.decisions import Decisions, tabulate
from archselect.reporting.html.parts import Analysis, Assets, Notes, Picture, analyses_in
from archselect.results.formatting import duration
from archselect.results.summaries import STAGES, RunResult
from archselect.safe_io.config import read_config, read_overrides
from archselect.store.redact_paths import CONFIG

FIGURES = {
    "cells": "The cells that were selected",
    "operation_strengths": "Validation accuracy behind the decisions on operations, edge by edge",
    "topology_strengths": "Validation accuracy behind the decisions on the inputs of nodes",
    "strengths": "Strength of every operation, as the selection measures it",
    "search_curves": "Search: accuracy and loss of the supernet",
    "selection_curves": "Selection: accuracy and loss of the supernet while it is tuned between the decisions",
    "evaluation_curves": "Evaluation: accuracy and loss of the selected network",
    "search_alpha": "Search: mixture weights of every edge",
    "search_alpha_map": "Search: the same at one glance, an operation a row, an epoch a column",
    "selection_alpha": "Selection: mixture weights of every edge",
    "selection_alpha_map": "Selection: the same at one glance",
}


@dataclass(frozen=True)
class StageView:
    """A stage: what it took, whether the run found it there, where it lies, and the link to it."""

    name: str
    took: str
    reused: bool
    folder: str
    link: str | None


@dataclass(frozen=True)
class RunView:
    """One run, ready for the template.

    Attributes:
        anchor: Of its place on the page.
        repeats: Folders of runs that came to the same result because the same command was typed again.
        command: What was typed, as the overrides tell; empty: they are missing.
        outcomes: Names and values of all numbers in the summary.
        pictures: By the names in `FIGURES`.
        notes: What is missing.
    """

    anchor: str
    result: RunResult
    folder: Path
    link: str | None
    repeats: list[Path]
    command: str
    genotype: str
    outcomes: list[tuple[str, str]]
    stages: list[StageView]
    pictures: dict[str, Picture]
    decisions: Decisions | None
    analyses: list[Analysis]
    notes: list[str]

    @property
    def title(self) -> str:
        space, search, selection, evaluation, data = self.result.choices
        return " · ".join([space, f"{search} + {selection}", evaluation, data, f"seed {self.result.seed}"])


def view(result: RunResult, anchor: str, assets: Assets) -> RunView:
    """Read the run of `result`; the last one, where the command was typed several times."""
    *repeats, folder = result.runs
    notes = Notes()
    config: Any = notes.attempt("The run's options", lambda: read_config(folder / CONFIG, folder, "logger"), {})
    run = FinishedRun(folder, DictConfig({}))  # nothing of it is made
    decisions: Decisions | None = None
    if "selection" in run.summary["stages"]:
        decisions = notes.attempt("The decisions", lambda: _decisions(run, config, notes), None)
    return RunView(
        anchor=anchor,
        result=result,
        folder=folder,
        link=assets.link(folder),
        repeats=repeats,
        command=notes.attempt("The command", lambda: _command(folder), ""),
        genotype=run.summary["genotype"],
        outcomes=notes.attempt("The numbers", lambda: _outcomes(run.summary), []),
        stages=notes.attempt("The stages", lambda: _stages(run.summary, folder, assets), []),
        pictures=_pictures(run.summary, folder, decisions, assets, notes),
        decisions=decisions,
        analyses=analyses_in(folder, assets, notes),
        notes=notes.sentences,
    )


def _decisions(run: FinishedRun, config: Any, notes: Notes) -> Decisions | None:
    records, made = run.decisions, run.stage("selection").result.get("decisions")
    if made is not None and len(records) < made:
        notes.add(f"Decisions are missing: {made} were made, and decisions.jsonl holds {len(records)}.")
    if made and not records:
        return None
    by_loss = (config.get("selection") or {}).get("operation_criterion") == "loss"  # most selections have no criterion
    return tabulate(records, "loss" if by_loss else "accuracy")


def _command(folder: Path) -> str:
    overrides = read_overrides((folder / CONFIG).with_name("overrides.yaml"), folder)
    return " ".join(["python train.py", *(_typed(str(override)) for override in overrides)])


def _typed(override: str) -> str:
    """Return an override for a shell, which puts in the home folder and the name of the user."""
    parts = re.split(r"((?<![\w.])~(?=/)|(?<=/)\$USER(?![\w.-]))", override)
    words = {"~": '"$HOME"', "$USER": '"$USER"'}
    return "".join(words.get(part) or shlex.quote(part) for part in parts if part)


def _outcomes(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers of a summary by what they are, with their units."""
    found = []
    if summary.get("params") is not None:
        found.append(("parameters", f"{summary['params']:,}"))
    for name, value in summary.items():
        stage, dot, what = name.partition(".")
        if dot and stage in STAGES and isinstance(value, int | float):
            found.append((f"{stage}: {what.replace('_', ' ')}", _amount(what, value)))
    return found


def _amount(what: str, value: float) -> str:
    if what.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if what.endswith(("_test", "_valid")):  # of the NAS-Bench-201 table, which is in percent
        return f"{value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _stages(summary: Mapping[str, Any], folder: Path, assets: Assets) -> list[StageView]:
    found = []
    for name in STAGES:
        if stage := summary["stages"].get(name):
            place = stage_place(folder, name, stage["folder"])
            # By way of the run's own link, with which it can be moved, where there is one.
            link = assets.link(folder / name) or assets.link(place)
            took = duration(stage["seconds"])
            found.append(StageView(name, took, bool(stage.get("reused")), str(stage["folder"]), link))
    return found


def _pictures(
    summary: Mapping[str, Any], folder: Path, decisions: Decisions | None, assets: Assets, notes: Notes
) -> dict[str, Picture]:
    """Return the pictures in the run's folder; a note names each that such a run draws and that is missing."""
    home = folder / "figures"
    if not home.is_dir():
        notes.add(f"The pictures are missing: there is no folder {home}. The run's command, typed again, draws them.")
        return {}
    expected = {
        "cells": True,
        "search_curves": "search" in summary["stages"],
        "search_alpha": "search" in summary["stages"],
        "evaluation_curves": "evaluation.epochs" in summary,
        "operation_strengths": decisions and decisions.scored,
        "topology_strengths": decisions and decisions.scored_nodes,
    }
    found = {}
    for name, caption in FIGURES.items():
        path = home / f"{name}.png"
        if path.exists() or expected.get(name):
            embed = partial(assets.embed, path, folder, caption)
            picture: Picture | None = notes.attempt(f"The picture {name}.png", embed, None)
            if picture:
                found[name] = picture
    return found
