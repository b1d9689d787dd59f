"""What an analysis looks at: finished runs, and further stages that start from them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from archselect.config import instantiate_part, instantiate_parts
from archselect.evaluation import NASBench201Lookup, NASBench201Table
from archselect.genotype import Genotype
from archselect.plan import Plan
from archselect.preflight import check
from archselect.runs import FinishedRun
from archselect.stages.job import Finished, Job, Stage, run_stage


@dataclass(frozen=True)
class Subject:
    """Finished runs, and what may be computed from them.

    Attributes:
        runs: One, or several for an analysis that compares them.
        selections: Further selections by name, as configs.
        console: Where progress is shown.
        table_file: The NAS-Bench-201 table to read; None: the one that the run looks its architecture up in, if any.
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
    def each(self) -> list["Subject"]:
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
    def job(self) -> Job:
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

    def select(self, selection: str, snapshot: int | None = None) -> Finished:
        """Return what another selection reads off the run's supernet, or off a snapshot of it."""
        return self.do(self.plan(selection).selection(self.run.stage("search"), snapshot))

    def select_all(self, snapshot: int | None = None) -> dict[str, Finished]:
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
        return trained or not instantiate_part(self._with(selection), "selection").reads_alpha

    def _with(self, selection: str) -> DictConfig:
        """Return the run's config with another selection in place of its own, none of whose options stay."""
        config = self.run.config.copy()
        config.selection = self.selections[selection]
        return config

    def judge(self, genotype: Genotype) -> Finished | None:
        """Return what an architecture comes to by the run's evaluation; None if it evaluates nothing."""
        evaluation = Plan(self.run.config, self.run.parts, self.job).evaluation(genotype)
        return None if evaluation is None else self.do(evaluation)

    def do(self, stage: Stage) -> Finished:
        """Return a stage from the store, or compute it."""
        return run_stage(stage, self.job)

    @cached_property
    def table(self) -> NASBench201Table | None:
        """The NAS-Bench-201 table, if one was given or the run looks its architecture up in one."""
        if self.table_file is not None:
            return NASBench201Table(self.table_file)
        evaluation = self.run.parts.evaluation
        return evaluation.load() if isinstance(evaluation, NASBench201Lookup) else None

    @property
    def other_table(self) -> str | None:
        """The SHA-256 of the given table, unless it is the one that all runs looked their architectures up in."""
        if self.table_file is None:
            return None
        if not self.table_file.is_file():
            raise ValueError(
                f"There is no NAS-Bench-201 table at {self.table_file}. Set table=FILE to the one you have."
            )
        digest = hashlib.sha256(self.table_file.read_bytes()).hexdigest()
        known = {
            run.stage("evaluation").folder.key.identity.get("table") if "evaluation" in run.summary["stages"] else None
            for run in self.runs
        }
        return None if known == {digest} else digest
