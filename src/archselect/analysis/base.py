"""What an analysis is: something measured on finished runs once, drawn, and read in one paragraph."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from archselect.data import ImageTensors
from archselect.evaluation import NASBench201Lookup, NASBench201Table
from archselect.evaluation.nasbench201 import OPERATIONS, PACKAGED
from archselect.genotype import Genotype
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.config import folder_label, instantiate_part, instantiate_parts
from archselect.pipeline.evaluator import StageEvaluator, scorer_of
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.plan import Plan
from archselect.pipeline.preflight import check
from archselect.pipeline.search_stage import architecture_images, fixed_batches
from archselect.pipeline.stage import Stage, StageContext, StageResult, run_stage
from archselect.search_spaces import NASBench201Space
from archselect.selection import Scorer, Scoring
from archselect.store import StageKey
from archselect.training.fit import StageTrainer


@dataclass(frozen=True)
class AnalysisContext:
    """Finished runs, and what may be computed from them.

    Attributes:
        runs: One, or several for an analysis that compares them.
        selections: Further selections by name, as configs.
        console: Where progress is shown.
        table_file: The NAS-Bench-201 table to read; None: the one that the run looks its architecture up in, or else
            the package's.
        options: The resolved config of the analysis.
        refused: Filled by `select_all`: the selections that could not be made, and why.
    """

    runs: Sequence[FinishedRun]
    selections: Mapping[str, DictConfig]
    console: Console
    table_file: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> FinishedRun:
        """The run, or the first of several."""
        return self.runs[0]

    @cached_property
    def each(self) -> list["AnalysisContext"]:
        """One subject per run; of runs that share a supernet, for the first of them."""
        first: dict[str, FinishedRun] = {}
        for run in self.runs:
            first.setdefault(run.stage("search").folder.key.digest, run)
        return [replace(self, runs=[run], refused={}) for run in first.values()]

    @property
    def refusals(self) -> list[Mapping[str, str]]:
        """What was refused, of all runs together and of each; empty where nothing was."""
        return [one.refused for one in (self, *self.each) if one.refused]

    @cached_property
    def job(self) -> StageContext:
        """What all stages of the run share."""
        return self.run.job(self.console)

    def plan(self, selection: str) -> Plan:
        """Return the stages of the run, had it been started with another selection.

        Raises:
            ValueError: The selection does not go with the run's search or space.
        """
        config = self._with(selection)
        parts = replace(instantiate_parts(config), data=self.run.parts.data)  # whose fingerprint is known
        check(parts)
        if "batch_norm" in self.run.stage("search").folder.key.identity:
            raise ValueError(
                "The run normalised each device's part of a batch by itself (trainer.sync_batchnorm=false), but an "
                "analysis works on one device, where the numbers are others."
            )
        return Plan(config, parts, self.job)

    def select(self, selection: str, snapshot: int | None = None) -> StageResult:
        """Return what another selection reads off the run's supernet, or off a snapshot of it."""
        return self.do(self.plan(selection).selection(self.run.stage("search"), snapshot))

    def select_all(self, snapshot: int | None = None) -> dict[str, StageResult]:
        """Return what each of the further selections reads off; one that the run refuses is left out, see `refused`."""
        made = {}
        for name in self.selections:
            try:
                made[name] = self.select(name, snapshot)
            except ValueError as error:
                self.refused[name] = str(error)
        return made

    def reads_trained_alpha(self, selection: str) -> bool:
        """Return False for a selection that reads an `alpha` which the run never trained."""
        trained = self.run.parts.search.architecture_gradient is not None
        return trained or not instantiate_part(self._with(selection), "selection").needs_trained_alpha

    def _with(self, selection: str) -> DictConfig:
        """Return the run's config with another selection in place of its own, none of whose options stay."""
        config = self.run.config.copy()
        config.selection = self.selections[selection]
        return config

    def judge(self, genotype: Genotype) -> StageResult | None:
        """Return what an architecture comes to by the run's evaluation; None if it evaluates nothing."""
        evaluation = Plan(self.run.config, self.run.parts, self.job).evaluation(genotype)
        return None if evaluation is None else self.do(evaluation)

    def do(self, stage: Stage) -> StageResult:
        """Return a stage from the store, or compute it."""
        return run_stage(stage, self.job)

    @cached_property
    def table(self) -> NASBench201Table | None:
        """The NAS-Bench-201 table that says how good the cells of the run's space are, if there is one."""
        file = self._table_of(self.run)
        return None if file is None else NASBench201Table(file)

    @property
    def other_tables(self) -> str:
        """The SHA-256 of each table but those that the runs looked their architectures up in; empty: there is none."""
        found = set()
        for run in self.runs:
            looked_up = run.stage("evaluation").folder.key.identity if "evaluation" in run.summary["stages"] else {}
            if (file := self._table_of(run)) is not None and file.is_file():
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                found |= {digest} - {looked_up.get("table")}
        return ",".join(sorted(found))

    def _table_of(self, run: FinishedRun) -> Path | None:
        """Return the table that was given; else that of the run; else, if it has the run's cells, the package's."""
        space, evaluation = run.parts.space, run.parts.evaluation
        if self.table_file is not None:
            return self.table_file
        if isinstance(evaluation, NASBench201Lookup):
            return evaluation.file
        return PACKAGED if isinstance(space, NASBench201Space) and _has_all(space) else None


def _has_all(space: NASBench201Space) -> bool:
    return all(set(operations) <= set(OPERATIONS) for operations in space.cells["cell"].operations)


MEASURED = "measured.jsonl"


class Measurer:
    """What an analysis measures with.

    Args:
        subject: The runs.
        fitting: Of the analysis' stage.
    """

    def __init__(self, subject: AnalysisContext, fitting: StageTrainer) -> None:
        self.subject = subject
        self.fitting = fitting
        self.device = fitting.device

    def supernet(self, epochs: int | None = None) -> Supernet:
        """Return the supernet as the search left it, or as it was after so many epochs, on the device."""
        return self.subject.run.supernet("search", epochs).to(self.device)

    def scorer(self, supernet: Supernet, scoring: Scoring) -> Scorer:
        """Return what scores a supernet on the images that trained `alpha`."""
        run = self.subject.run
        return scorer_of(supernet, self.subject.job, run.parts.search, scoring, self.device)

    def trials(self, supernet: Supernet, scoring: Scoring) -> StageEvaluator:
        """Return what trains copies of a supernet and keeps what was trained."""
        run = self.subject.run
        return StageEvaluator(supernet, self.subject.job, run.parts.search, scoring, self.fitting, self.device)

    def validation(self, batch_size: int, batches: int | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """Return batches of the images that trained `alpha`, in the order in which they were validated."""
        run = self.subject.run
        _, images = architecture_images(run.parts.data, run.parts.search, run.parts.seed)
        return islice(self._batches(images, batch_size), batches)

    def test(self, batch_size: int = 512) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the test images, shuffled once and for all: a supernet may normalise by each batch's statistics."""
        return self._batches(self.subject.run.parts.data.test, batch_size)

    def _batches(self, images: ImageTensors, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
        parts = self.subject.run.parts
        return fixed_batches(parts.data, images, batch_size, self.device, parts.seed)

    def once(self, what: str, measure: Callable[[], Any]) -> Any:
        """Return `measure()`, plain data, or what it was before the session was cut off; a step of progress."""
        folder, progress = self.fitting.folder, self.fitting.progress
        progress.say(what)
        for record in folder.read_lines(MEASURED):
            if record["what"] == what:
                progress.advance()
                return record["value"]
        folder.append_line(MEASURED, {"what": what, "value": (value := measure())})
        progress.advance()
        return value


def accuracy(network: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of images whose largest logit is that of their label."""
    correct = images = 0
    with torch.no_grad():
        for x, labels in batches:
            correct += int((network(x).argmax(dim=1) == labels).sum())
            images += len(labels)
    return correct / images


Table = list[dict[str, Any]]
"""Rows of plain data, each with the same keys."""

Tables = Mapping[str, Table]
"""What was measured, by name; the first is the main one."""


class Analysis(Protocol):
    """One analysis. What it measures is kept in the store; pictures and words are made of the tables anew.

    Attributes:
        several: Whether it looks at several runs together; otherwise at one.
        version: Raised when a change of the code changes what is measured.
        name: Shown in folders and reports.
    """

    several: ClassVar[bool]
    version: ClassVar[int]

    @property
    def name(self) -> str: ...

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """Raise a ValueError where these runs cannot be analysed this way."""
        ...

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """Return the stages that it reads besides the runs' own; what is not in the store yet is computed."""
        ...

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return the tables."""
        ...

    def draw(self, tables: Tables) -> Figure:
        """Draw what was measured."""
        ...

    def reading(self, tables: Tables) -> str:
        """Return in one paragraph what is to be seen."""
        ...


TABLES = "tables.json"


@dataclass(frozen=True)
class AnalysisStage:
    """Measures.

    Attributes:
        subject: The runs.
        analysis: What is measured.
        prepared: Further stages that are read.
        options: The resolved config of the analysis.
    """

    subject: AnalysisContext
    analysis: Analysis
    prepared: Mapping[str, StageResult]
    options: Mapping[str, Any]

    @property
    def key(self) -> StageKey:
        """See `Stage.key`: the options, and all that is read: stages, and a table that the run did not look into.

        Selections that were refused leave no stage, but tables say so: they are part of it too.
        """
        run = self.subject.run
        read = [
            [stage["folder"].rpartition("-")[2] for stage in run.summary["stages"].values()]
            for run in self.subject.runs
        ]
        identity: dict[str, Any] = {
            "version": self.analysis.version,
            "analysis": {name: value for name, value in self.options.items() if name != "name"},
            "runs": read,
            "prepared": {name: stage.folder.key.digest for name, stage in self.prepared.items()},
        }
        if tables := self.subject.other_tables:
            identity["table"] = tables
        if refusals := self.subject.refusals:
            identity["refused"] = refusals
        label = folder_label(self.analysis.name, run.summary["name"], f"seed{run.parts.seed}")
        return StageKey("analysis", label, identity)

    @property
    def config(self) -> Mapping[str, Any]:
        """See `Stage.config`."""
        return {"runs": [str(run.folder) for run in self.subject.runs], "analysis": dict(self.options)}

    def work(self, fitting: StageTrainer) -> Mapping[str, Any]:
        """Measure, and keep the tables."""
        tables: Tables = self.analysis.measure(Measurer(self.subject, fitting), self.prepared)
        fitting.folder.write_json(TABLES, dict(tables))
        return {"rows": {name: len(rows) for name, rows in tables.items()}}
