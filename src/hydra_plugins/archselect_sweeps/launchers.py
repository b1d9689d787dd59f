"""Jobs beside each other: in processes of joblib on one machine, or in jobs of submitit, on one machine or by Slurm."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, env_override
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from archselect.distributed.launch import is_main_process
from archselect.utils.errors import UserError, extra

THREADS = "OMP_NUM_THREADS"
SHARED = (
    *("timeout_min", "mem_gb", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "name"),
    "stderr_to_stdout",
)
"""What submitit calls the same on every cluster; the other options belong to one kind of it."""


class JoblibLauncher(Launcher):
    """`hydra-joblib-launcher`: so many processes, which take one job after the other.

    Each has an equal share of the cores as its threads, by joblib's rule, unless `OMP_NUM_THREADS` says otherwise.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options

    def setup(self, **context: Any) -> None:
        """Make the plugin's launcher."""
        with extra("sweeps", "hydra/launcher=processes"):
            from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher as Plugin
        self._plugin = Plugin(**self._options)
        self._plugin.setup(**context)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs.

        Raises:
            UserError: An option makes no sense, or a process was killed.
        """
        from joblib.externals.loky import get_reusable_executor
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        try:
            returns: Sequence[JobReturn] = self._plugin.launch(job_overrides, initial_job_idx)
        except TerminatedWorkerError as error:
            raise UserError(
                "A process of joblib was killed, most often because the memory ran out, and joblib stopped the "
                "others. What is finished is kept: type the same command again, with fewer jobs at a time "
                "(hydra.launcher.n_jobs)."
            ) from error
        except (ValueError, TypeError) as error:
            raise UserError(f"hydra.launcher: joblib does not take these options: {error}") from error
        get_reusable_executor(reuse=True).shutdown()  # the processes would keep their memory, of a GPU too
        return returns


class SubmititLauncher(Launcher):
    """`hydra-submitit-launcher`, which runs a job and requeues it; submitted and waited for here.

    The plugin's own waiting ends at the first job that left no result, such as one out of memory, and leaves the jobs
    to themselves when the sweep is stopped. The options are those of submitit, explained in `configs/hydra/launcher/`.
    """

    def __init__(
        self, cluster: Literal["local", "slurm"], submitit_folder: str, max_num_timeout: int, **options: Any
    ) -> None:
        self._cluster, self._folder, self._max_num_timeout = cluster, submitit_folder, max_num_timeout
        self._options = options

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **context: Any) -> None:
        """Make the plugin's launcher, which submitit will call in each job, and what submits it."""
        if "search_space" not in config and self._options.get("nodes", 1) * self._options.get("tasks_per_node", 1) > 1:
            raise UserError("An analysis runs on one device: leave hydra.launcher.nodes and tasks_per_node at 1.")
        with extra("sweeps", f"hydra/launcher={'slurm' if self._cluster == 'slurm' else 'slurm_local'}"):
            from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher, SlurmLauncher
        self._config, self._loader = config, hydra_context.config_loader
        self._task = Task(SlurmLauncher() if self._cluster == "slurm" else LocalLauncher())
        self._task.plugin.setup(hydra_context=hydra_context, config=config, **context)
        self._executor = self._made_executor()

    def _made_executor(self) -> Any:
        import submitit

        named = {key if key in SHARED else f"{self._cluster}_{key}": value for key, value in self._options.items()}
        plain = {key: OmegaConf.to_object(one) if OmegaConf.is_config(one) else one for key, one in named.items()}
        often = {f"{self._cluster}_max_num_timeout": self._max_num_timeout}
        try:
            executor = submitit.AutoExecutor(self._folder, cluster=self._cluster, **often)
            executor.update_parameters(**plain)
        except RuntimeError as error:
            raise UserError(
                "hydra/launcher=slurm needs the commands of Slurm (srun, sbatch), which are not on this "
                "machine. Type the command on a login node, or choose hydra/launcher=processes."
            ) from error
        except (NameError, ValueError, TypeError, AssertionError) as error:
            raise UserError(f"hydra.launcher: submitit does not take these options: {error}") from error
        return executor

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs and wait for all of them; cancel them if the waiting is cut short."""
        from hydra.core.singleton import Singleton

        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        calls = [
            (list(overrides), "hydra.sweep.dir", number, f"job_{number}", Singleton.get_state())
            for number, overrides in zip(numbers, job_overrides, strict=True)
        ]
        # A process that shares the machine with others takes the threads it was given, not all.
        threads = {THREADS: os.environ.get(THREADS, str(self._options.get("cpus_per_task") or 1))}
        with env_override(threads):
            jobs = self._executor.map_array(self._task, *zip(*calls, strict=True))
        try:
            return [self._outcome(*job) for job in zip(jobs, numbers, job_overrides, strict=True)]
        except BaseException:
            for job in jobs:
                job.cancel(check=False)
            raise

    def _outcome(self, job: Any, number: int, overrides: Sequence[str]) -> JobReturn:
        """Wait for a job, whose result is its main process's; one without a result has failed, whatever ended it."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            returned: JobReturn = job.task(0).result()
            if returned.status is JobStatus.FAILED and job.num_tasks > 1:
                each = f"What each of its tasks said is in {job.paths.folder}."
                returned.return_value = UserError(f"{returned._return_value} {each}")
            return returned
        except (UncompletedJobError, FailedJobError) as error:
            reason = (
                f"it ended without a result (state {job.state}), most often because the memory ran out or the job was "
                f"cancelled: see {job.paths.stderr}"
            )
            keep_lost_failure(self._config, self._loader, number, overrides, reason)
            failed = JobReturn(overrides=overrides, status=JobStatus.FAILED)
            failed.return_value = UserError(reason)
            failed._return_value.__cause__ = error
            return failed


@dataclass(frozen=True)
class Task:
    """What submitit calls in every task of a job: Hydra's job, in which the tasks are the processes of one run."""

    plugin: Any  # the launcher of `hydra-submitit-launcher`

    def __call__(self, *arguments: Any) -> JobReturn:
        """Run the job and return what came of it; in another task than the main one raise its error, if any.

        The exit code of a task that fails tells srun to end the others.
        """
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if os.environ["SUBMITIT_EXECUTOR"] == "local":
            os.environ["MASTER_ADDR"] = "127.0.0.1"  # not every machine can look up its own name
        returned: JobReturn = self.plugin(*arguments)
        if not is_main_process():
            _ = returned.return_value  # which raises
        return returned

    def checkpoint(self, *arguments: Any) -> Any:
        """Return what a requeued job begins with: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def keep_lost_failure(
    config: DictConfig, loader: ConfigLoader, number: int, overrides: Sequence[str], reason: str
) -> None:
    """Write into the folder of a job's run, if it came so far, that it failed: a process that is gone cannot say so."""
    from archselect.results.grid import keep_failure

    job = loader.load_sweep_config(config, list(overrides))
    with open_dict(job):
        job.hydra.job.num = number
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(job)  # names of folders are resolved by it
    try:
        folder = Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)
        if folder.is_dir() and "search_space" in job:  # an analysis has no choices to report
            keep_failure(folder, job, reason)
    finally:
        HydraConfig.instance().cfg = before
