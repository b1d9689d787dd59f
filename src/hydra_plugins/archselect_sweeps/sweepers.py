"""How the jobs of a sweep are chosen: every combination, or a search over options by Optuna; failed ones are gathered.

The official hydra-optuna-sweeper for Hydra 1.3 needs an Optuna before 3, which cannot open a storage with today's
SQLAlchemy.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from archselect.distributed.launch import refuse_launched
from archselect.utils.errors import UserError, extra, sentence
from hydra_plugins.archselect_sweeps.study import Study, open_study, parse_space


class GatheringLauncher(Launcher):
    """A launcher around another one: it gathers the jobs that fail, where Hydra would end the sweep at the first."""

    def __init__(self, launcher: Launcher, sweep_folder: str) -> None:
        self._launcher, self._sweep_folder = launcher, sweep_folder
        self._jobs: list[tuple[int, Sequence[str], BaseException | None]] = []

    def setup(self, **context: Any) -> None:
        """The launcher inside is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return what came of those that worked."""
        returns = self.run(job_overrides, initial_job_idx)
        return [one for one in returns if one.status is JobStatus.COMPLETED]

    def run(self, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        """Run the jobs, numbered from `first`, and return what came of each; to read a failed one's value raises."""
        returns = self._launcher.launch(job_overrides, initial_job_idx=first)
        for number, (overrides, job) in enumerate(zip(job_overrides, returns, strict=True), start=first):
            failed = job.status is JobStatus.FAILED
            self._jobs.append((number, overrides, job._return_value if failed else None))
        return returns

    def raise_failures(self) -> None:
        """Raise a `UserError` that names every job that failed."""
        failed = [(number, overrides, error) for number, overrides, error in self._jobs if error is not None]
        if not failed:
            return
        common = set.intersection(*(set(overrides) for _, overrides, _ in self._jobs))
        lines = []
        for number, overrides, error in failed:
            options = " ".join(one for one in overrides if one not in common)
            said = sentence(error).strip().replace("\n", "\n    ")
            lines.append(f"  job {number}{f' ({options})' if options else ''}: {said}")
        others = len(self._jobs) - len(failed)
        raise UserError(
            f"{len(failed)} of the {len(self._jobs)} jobs of the sweep failed"
            + (f"; the other {others} {'is' if others == 1 else 'are'} finished.\n" if others else ".\n")
            + "\n".join(lines)
            + f"\nTheir logs are in {self._sweep_folder}; the same command tries them again."
        ) from failed[0][2]


class GridSweeper(BasicSweeper):
    """Hydra's own, every combination of what was given: to the end, whatever becomes of any job."""

    def setup(self, *, config: DictConfig, **context: Any) -> None:
        """Put the launcher where the failures are gathered."""
        refuse_launched("the jobs of a sweep follow each other in one")
        super().setup(config=config, **context)
        assert self.launcher is not None
        self.launcher = self._gathering = GatheringLauncher(self.launcher, str(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs; a `UserError` names those that failed."""
        returns = super().sweep(arguments)
        if self.config is not None and "selection" in self.config:  # not of analyses
            report = f"next python -m archselect.reporting {shlex.quote(str(self.config.hydra.sweep.dir))}"
            Console().print(report, markup=False, highlight=False, soft_wrap=True)
        self._gathering.raise_failures()
        return returns


@dataclass(eq=False)
class OptunaSweeper(Sweeper):
    """Asks Optuna for options, runs them as jobs of the launcher, and tells it the score that `main` returns.

    Its options are explained in `configs/hydra/sweeper/study.yaml`.
    """

    sampler: Mapping[str, Any]
    storage: str
    study_name: str
    n_trials: int
    n_jobs: int
    params: Mapping[str, Any] | None

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **context: Any) -> None:
        """Make the launcher."""
        refuse_launched("a study hands out its trials from one")
        launcher = Plugins.instance().instantiate_launcher(hydra_context=hydra_context, config=config, **context)
        self._config, self._loader = config, hydra_context.config_loader
        self._launcher = GatheringLauncher(launcher, str(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until the study has `n_trials`, and write down which was the best.

        Raises:
            UserError: There is nothing to optimise or to search over, another study has the name, or trials failed.
        """
        with extra("sweeps", "hydra/sweeper=study"):
            import optuna  # noqa: F401
        for name, value in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"hydra.sweeper.{name} must be a whole number above 0; got {value!r}.")
        space, fixed = parse_space(self.params or {}, arguments)
        identity, lower_is_better = self._checked(space, fixed)
        sampler = instantiate(self.sampler, _partial_=True)
        with open_study(self.storage, self.study_name, lower_is_better, identity) as made:
            study = Study(made, sampler, self._config.seed, space)
            study.drop_halves()
            while trials := study.trials(self.n_jobs, self.n_trials):
                overrides = [[*(f"{key}={value}" for key, value in trial.params.items()), *fixed] for trial in trials]
                returns = self._launcher.run(overrides, trials[0].number)
                for trial, job in zip(trials, returns, strict=True):
                    study.tell(trial.number, None if job.status is JobStatus.FAILED else float(job.return_value))
            self._conclude(study)
        self._launcher.raise_failures()

    def _checked(self, space: Mapping[str, Any], fixed: Sequence[str]) -> tuple[Mapping[str, Any], bool]:
        """Check what can be checked before the first trial.

        Returns:
            What all trials have in common, and whether a lower score is better.
        """
        from archselect.pipeline.config import identity_of
        from archselect.pipeline.preflight import check_objective, validation_scores

        base = self._loader.load_sweep_config(self._config, list(fixed))
        if base.optimized_metric is None:
            scores = ", ".join(validation_scores(base)) or "none: set evaluation.validation_share=0.1"
            raise UserError(f"optimized_metric is null: name what hydra/sweeper=study is to optimise ({scores}).")
        check_objective(base)
        if not space:
            raise UserError(
                "There is nothing to search over: give an option several values, such as "
                "'search.weight_optimizer.lr=tag(log,interval(0.005,0.1))', or choose hparams_search=NAME."
            )
        identity = {
            "optimized_metric": base.optimized_metric,
            "space": {key: str(distribution) for key, distribution in space.items()},
            **identity_of(base, str(base.data.get("train_subset"))),
        }
        return identity, validation_scores(base)[base.optimized_metric] == "min"

    def _conclude(self, study: Study) -> None:
        """Show and write down the best trial, if one has worked."""
        results: dict[str, Any] = {"name": "optuna", "trials": study.count}
        if best := study.best:
            results |= {"best_trial": best.number, "best_value": best.value, "best_params": dict(best.params)}
            chosen = " ".join(f"{key}={value}" for key, value in best.params.items())
            score = f"{self._config.optimized_metric} {best.value:.4f} in trial {best.number}: {chosen}"
            said = f"Best of {study.count} trials ({self.study_name}): {score}"
            Console(highlight=False).print(said, markup=False, soft_wrap=True)
        folder = Path(str(self._config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create(results), folder / "optimization_results.yaml")
