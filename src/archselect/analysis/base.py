"""What an analysis is: something measured on finished runs once, drawn, and summarised in one paragraph.

One of your own is a subclass of `Analysis` and a file in `configs/analysis`; `skip_dominance` is a short example.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from archselect.data import Images
from archselect.evaluation import NASBench201Lookup, NASBench201Table
from archselect.evaluation.nasbench201 import OPERATIONS, PACKAGED
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.config import folder_label, instantiate_part, instantiate_parts
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.own_code import own_sources
from archselect.pipeline.plan import Plan
from archselect.pipeline.preflight import check
from archselect.pipeline.selection_stage import StageEvaluator, scorer_of
from archselect.pipeline.stage import StageContext, StageResult, run_stage
from archselect.results.metric import ACCURACY, Metric
from archselect.search.data import architecture_images, fixed_batches
from archselect.search_spaces import NASBench201Space
from archselect.selection import Scorer, Scoring
from archselect.store import StageKey
from archselect.store.integrity import sha256_of
from archselect.training.fit import StageTrainer
from archselect.utils.validation import check_fields


@dataclass(frozen=True)
class AnalysisContext:
    """Finished runs, several for an analysis that compares them, and what may be computed from them."""

    runs: Sequence[FinishedRun]
    selections: Mapping[str, DictConfig]  # further ones, by name
    console: Console
    table_file: Path | None = None  # a NAS-Bench-201 table in place of the run's own or the package's
    options: Mapping[str, Any] = field(default_factory=dict)  # of the analysis, resolved
    refused: dict[str, str] = field(default_factory=dict)  # the selections that `select_all` could not make, and why

    @property
    def run(self) -> FinishedRun:
        """The run, or the first of several."""
        return self.runs[0]

    @cached_property
    def per_supernet(self) -> list["AnalysisContext"]:
        """One context per run; of runs that share a supernet, for the first of them."""
        first: dict[str, FinishedRun] = {}
        for run in self.runs:
            first.setdefault(run.stage("search").folder.key.digest, run)
        return [replace(self, runs=[run], refused={}) for run in first.values()]

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
        return run_stage(self.plan(selection).selection(self.run.stage("search"), snapshot), self.job)

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

    @cached_property
    def table(self) -> NASBench201Table | None:
        """The NAS-Bench-201 table that says how good the cells of the run's space are, if there is one."""
        file = self._table_of(self.run)
        return None if file is None else NASBench201Table(file)

    @property
    def identity(self) -> dict[str, Any]:
        """What of the runs determines a result: their stages, another table than they read, refused selections."""
        stages = [run.summary["stages"].values() for run in self.runs]
        identity: dict[str, Any] = {"runs": [[one["folder"].rpartition("-")[2] for one in run] for run in stages]}
        if tables := set().union(*map(self._other_table, self.runs)):
            identity["table"] = ",".join(sorted(tables))
        if refused := [one.refused for one in (self, *self.per_supernet) if one.refused]:
            identity["refused"] = refused
        return identity

    def _other_table(self, run: FinishedRun) -> set[str]:
        """Return the SHA-256 of the table that is read, unless the run looked its architecture up in that one."""
        if (file := self._table_of(run)) is None or not file.is_file():
            return set()
        looked_up = run.stage("evaluation").folder.key.identity if "evaluation" in run.summary["stages"] else {}
        return {sha256_of(file)} - {looked_up.get("table")}

    def _table_of(self, run: FinishedRun) -> Path | None:
        """Return the table that was given; else that of the run; else, if it has the run's cells, the package's."""
        space, evaluation = run.parts.space, run.parts.evaluation
        if self.table_file is not None:
            return self.table_file
        if isinstance(evaluation, NASBench201Lookup):
            return evaluation.file
        if isinstance(space, NASBench201Space) and set(OPERATIONS).issuperset(chain(*space.cells["cell"].operations)):
            return PACKAGED
        return None


MEASURED = "measured.jsonl"


class Measurer:
    """What an analysis measures with, on the device of its stage's trainer."""

    def __init__(self, context: AnalysisContext, trainer: StageTrainer) -> None:
        self.context, self.run = context, context.run
        self.trainer, self.device = trainer, trainer.device

    @property
    def metric(self) -> Metric:
        """The metric of the run's task."""
        return Metric.of(self.run.summary)

    def supernet(self, epochs: int | None = None) -> Supernet:
        """Return the supernet as the search left it, or as it was after so many epochs, on the device."""
        return self.run.supernet("search", epochs).to(self.device)

    def scorer(self, supernet: Supernet, scoring: Scoring) -> Scorer:
        """Return what scores a supernet on the images that trained `alpha`."""
        return scorer_of(supernet, self.context.job, self.run.parts.search, scoring, self.device)

    def evaluator(self, supernet: Supernet, scoring: Scoring) -> StageEvaluator:
        """Return what trains copies of a supernet and keeps what was trained."""
        return StageEvaluator(supernet, self.context.job, self.run.parts.search, scoring, self.trainer, self.device)

    def validation(self, batch_size: int, batches: int | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """Return batches of the images that trained `alpha`, in the order in which they were validated."""
        parts = self.run.parts
        _, images = architecture_images(parts.data, parts.search, parts.seed)
        return islice(self._batches(images, batch_size), batches)

    def test(self, batch_size: int = 512) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the test images, shuffled once and for all: a supernet may normalise by each batch's statistics."""
        return self._batches(self.run.parts.data.test, batch_size)

    def _batches(self, images: Images, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
        return fixed_batches(self.run.parts.data, images, batch_size, self.device, self.run.parts.seed)

    def start(self, steps: int) -> None:
        """Show progress over so many steps."""
        self.trainer.progress.start(total=steps, completed=0)

    def cached(self, what: str, measure: Callable[[], Any]) -> Any:
        """Return `measure()`, plain data, or what it was before the session was cut off; a step of progress."""
        folder = self.trainer.folder
        self.trainer.progress.say(what)
        value = next((record["value"] for record in folder.read_lines(MEASURED) if record["what"] == what), None)
        if value is None:
            value = measure()
            folder.append_line(MEASURED, {"what": what, "value": value})
        self.trainer.progress.advance()
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

Prepared = Mapping[str, StageResult]
"""The stages that an analysis reads besides the runs' own, by a name of its choice."""


class Analysis(ABC):
    """One analysis: a dataclass of its options, made from `configs/analysis/NAME.yaml`.

    What it measures is kept in the store; figure and summary are made of the tables anew.
    """

    name: str
    multi_run: ClassVar[bool] = False  # whether it looks at several runs together, not at one
    version: ClassVar[int] = 1  # raised when a change of the code changes what is measured

    def __post_init__(self) -> None:
        check_fields(self, "analysis")

    def check(self, runs: Sequence[FinishedRun]) -> None:  # noqa: B027
        """Raise a ValueError where these runs cannot be analysed this way."""

    def prepare(self, context: AnalysisContext) -> Prepared:
        """Return what is `Prepared`; what is not in the store yet is computed."""
        return {}

    @abstractmethod
    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return the tables."""

    @abstractmethod
    def draw(self, tables: Tables) -> Figure:
        """Draw what was measured."""

    @abstractmethod
    def summary(self, tables: Tables) -> str:
        """Return in one paragraph what is to be seen."""


METRIC = "metric"
"""The table of the metric: there unless the run classifies by accuracy."""


def metric_of(tables: Tables) -> Metric:
    """Return the metric that tables are in."""
    if METRIC not in tables:
        return ACCURACY
    (row,) = tables[METRIC]
    return Metric(row["name"], row["mode"])


def check_same_metric(analysis: str, runs: Sequence[FinishedRun]) -> None:
    """Raise a ValueError where an analysis that compares runs is given some that are told in another metric."""
    metric = Metric.of(runs[0].summary)
    if (other := next((run for run in runs if Metric.of(run.summary) != metric), None)) is not None:
        raise ValueError(
            f"analysis={analysis} compares runs of one task, but {runs[0].folder} is told in {metric.words} and "
            f"{other.folder} in {Metric.of(other.summary).words}. Name a folder that holds runs of one task."
        )


def check_accuracy(analysis: str, why: str, runs: Sequence[FinishedRun]) -> None:
    """Raise a ValueError where an analysis that knows accuracies only is given runs of another task than that."""
    if (other := next((run for run in runs if Metric.of(run.summary) != ACCURACY), None)) is not None:
        raise ValueError(
            f"{analysis} {why}, but the run {other.folder} has task={other.summary['task']}, judged by "
            f"{Metric.of(other.summary).words}. Name a run with task=classification."
        )


def check_same_operations(analysis: str, runs: Sequence[FinishedRun]) -> None:
    """Raise a ValueError where an analysis that compares runs is given some with other candidates."""
    if (other := next((run for run in runs if run.space != runs[0].space), None)) is not None:
        raise ValueError(
            f"analysis={analysis} compares runs that choose among the same operations, and {other.folder} has others "
            f"than {runs[0].folder}. Name a folder that holds runs with the same search_space.operations."
        )


TABLES = "tables.json"


@dataclass(frozen=True)
class AnalysisStage:
    """What an analysis computes once: the key of all that determines the result, what it is made from, the work."""

    key: StageKey
    config: Mapping[str, Any]
    run: Callable[[StageTrainer], Mapping[str, Any]]


def stage_of(analysis: Analysis, context: AnalysisContext) -> AnalysisStage:
    """Return the stage that measures, and keeps the tables; what it reads is prepared first.

    Refused selections leave no stage, but the tables say so: its key has them, too.
    """
    prepared = analysis.prepare(context)

    def measure(trainer: StageTrainer) -> Mapping[str, Any]:
        measurer = Measurer(context, trainer)
        tables = analysis.measure(measurer, prepared)
        if (metric := measurer.metric) != ACCURACY:
            tables = {**tables, METRIC: [{"name": metric.name, "mode": metric.mode}]}
        trainer.folder.write_json(TABLES, dict(tables))
        return {"rows": {name: len(rows) for name, rows in tables.items()}}

    identity = {
        "version": analysis.version,
        "analysis": {name: value for name, value in context.options.items() if name != "name"},
        "prepared": {name: stage.folder.key.digest for name, stage in prepared.items()},
        **context.identity,
        **own_sources(dict(context.options)),
    }
    label = folder_label(analysis.name, context.run.summary["name"], f"seed{context.run.parts.seed}")
    config = {"runs": [str(run.folder) for run in context.runs], "analysis": dict(context.options)}
    return AnalysisStage(StageKey("analysis", label, identity), config, measure)
