"""A job whose process is gone cannot say so itself."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict


def keep_lost(config: DictConfig, loader: ConfigLoader, number: int, overrides: Sequence[str], reason: str) -> None:
    """Write into the folder of a job's run, if it came so far, that the run failed."""
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
