"""What an analysis looks at: finished runs, and further stages that start from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
    """

    runs: Sequence[FinishedRun]
    selections: Mapping[str, DictConfig]
    console: Console

    @property
    def run(self) -> FinishedRun:
        """The run, or the first of several."""
        return self.runs[0]

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
        parts = instantiate_parts(config)
        check(parts)
        return Plan(config, parts, self.job)

    def select(self, selection: str, snapshot: int | None = None) -> Finished:
        """Return what another selection reads off the run's supernet, or off a snapshot of it."""
        return self.do(self.plan(selection).selection(self.run.stage("search"), snapshot))

    def reads_trained_alpha(self, selection: str) -> bool:
        """Return False for a selection that reads an `alpha` which the run never trained."""
        trained = self.run.parts.search.architecture_gradient is not None
        return trained or not instantiate_part(self._with(selection), "selection").reads_alpha

    def _with(self, selection: str) -> DictConfig:
        """Return the run's config with another selection in place of its own."""
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

    @property
    def table(self) -> NASBench201Table | None:
        """The NAS-Bench-201 table that the run looks its architecture up in, if it does."""
        evaluation = self.run.parts.evaluation
        return evaluation.load() if isinstance(evaluation, NASBench201Lookup) else None
