"""What became of the jobs of a sweep."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from archselect.utils.errors import RunError, sentence


class Outcomes(Launcher):
    """A launcher around another one: it gathers the jobs that fail, where Hydra would end the sweep at the first."""

    def __init__(self, launcher: Launcher, sweep_folder: str) -> None:
        self._launcher = launcher
        self._sweep_folder = sweep_folder
        self._jobs: list[tuple[int, Sequence[str], BaseException | None]] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
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
        """Raise a `RunError` that names every job that failed."""
        failed = [job for job in self._jobs if job[2] is not None]
        if not failed:
            return
        common: set[str] = set.intersection(*(set(overrides) for _, overrides, _ in self._jobs))
        lines = [
            f"  job {number} ({' '.join(one for one in overrides if one not in common)}): {_sentence(error)}"
            for number, overrides, error in failed
        ]
        others = len(self._jobs) - len(failed)
        raise RunError(
            f"{len(failed)} of the {len(self._jobs)} jobs of the sweep failed"
            + (f"; the other {others} {'is' if others == 1 else 'are'} finished.\n" if others else ".\n")
            + "\n".join(lines).replace(" ():", ":")
            + f"\nTheir logs are in {self._sweep_folder}; the same command tries them again."
        ) from failed[0][2]


def _sentence(error: Any) -> str:
    return sentence(error).strip().replace("\n", "\n    ")
