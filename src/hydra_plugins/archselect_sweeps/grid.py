"""Hydra's own sweeper, every combination of what was given, to the end."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from archselect.distributed.launch import refuse_launched
from hydra_plugins.archselect_sweeps._outcomes import Outcomes


class GridSweeper(BasicSweeper):
    """Runs all jobs, whatever becomes of any, and names those that failed at the end."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Put the launcher where the failures are gathered."""
        refuse_launched("the jobs of a sweep follow each other in one")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        self.launcher = self._outcomes = Outcomes(self.launcher, str(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs.

        Raises:
            RunError: Some failed.
        """
        returns = super().sweep(arguments)
        self._outcomes.raise_failures()
        return returns
