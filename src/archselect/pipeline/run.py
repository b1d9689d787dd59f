"""A run: search, selection and evaluation, each from the store where it is there already."""

import csv
import io
import json
import logging.config
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from archselect.distributed.launch import (
    end_with_launcher,
    errors_in_order,
    is_main_process,
    launched,
    rank_zero_folder,
    start_processes,
)
from archselect.distributed.process_group import on_main_process
from archselect.genotype import Genotype
from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.config import Components, as_user_error, check_groups, instantiate_parts, to_plain_dict
from archselect.pipeline.console import (
    STRENGTHS,
    draw_figures,
    show_data,
    show_plan,
    show_strengths,
    show_summary,
    strengths,
    tables,
)
from archselect.pipeline.finished_run import FinishedRun, open_run, summarise
from archselect.pipeline.guard import run_guard
from archselect.pipeline.loggers import RunLog
from archselect.pipeline.plan import Plan, how_long
from archselect.pipeline.preflight import check, check_data, check_objective
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import Stage, StageContext, StageResult, run_stage
from archselect.results.formatting import comparison
from archselect.results.grid import FAILED, forget_failure
from archselect.store import Store, atomic_write
from archselect.store.redact_paths import expanded, redact, redact_all, redact_files
from archselect.training.devices import join, process_count, silence_lightning_warnings
from archselect.utils.errors import stopping_on_signals


def objective(config: DictConfig, summary: Mapping[str, Any]) -> float | None:
    """Return `optimized_metric` of a finished run; None where none is named."""
    return None if config.optimized_metric is None else float(summary[config.optimized_metric])


def run(config: DictConfig) -> dict[str, Any]:
    """Run what the config describes and return the summary, which is also written into Hydra's run folder.

    On several devices this is what every process does that torchrun or Slurm started; started by itself, a process
    starts one for each device to do it.

    Raises:
        UserError: An option, the data or the disk does not allow it.
    """
    silence_lightning_warnings()
    config = expanded(config)
    console = Console(highlight=False)
    folder = Path(HydraConfig.get().runtime.output_dir)
    with run_guard(config, folder, console) as phase:
        redact_hydra_files(folder)
        _write_name(config, folder)
        forget_failure(folder)
        parts = _checked(config)
        phase.failure = FAILED
        if launched() is not None or (processes := process_count(parts.trainer)) == 1:
            return _run(config, parts, folder, console)
        settings = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
        arguments = to_plain_dict(config), str(folder), settings
        summary: dict[str, Any] = start_processes(_run_in_process, arguments, processes, folder / "processes")
    return summary


def train(*overrides: str, configs: str | Path = "configs") -> FinishedRun:
    """Run from Python what `python train.py OVERRIDES` runs, into the same folder.

    Args:
        overrides: As on the command line.
        configs: The folder of the configs.

    Raises:
        UserError: See `run`.

    Example:
        >>> run = archselect.train("experiment=tiny", "search.epochs=1", "selection=magnitude", "evaluation=none")
        s2-darts-magnitude-digits, seed 0 ...
        >>> run.summary["selection"], len(run.history("search"))
        ('magnitude', 1)
    """
    register_resolvers()
    with as_user_error(), initialize_config_dir(str(Path(configs).resolve()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        job = hydra.run("train", run, list(overrides))
        assert job.return_value is not None  # it raises what the run raised
    return open_run(str(job.working_dir))


def _checked(config: DictConfig) -> Components:
    check_groups(config)
    check_objective(config)
    parts = instantiate_parts(config)
    check(parts)
    return parts


def _run_in_process(config: dict[str, Any], folder: str, log: dict[str, Any]) -> dict[str, Any]:
    """Be one of the processes that a run starts."""
    end_with_launcher()
    silence_lightning_warnings()
    if is_main_process():
        logging.config.dictConfig(log)
    made, own = DictConfig(config), Path(rank_zero_folder(folder))
    with errors_in_order(), stopping_on_signals(Console(quiet=True)), as_user_error():
        return _run(made, _checked(made), own, Console(highlight=False))


def _run(config: DictConfig, parts: Components, folder: Path, console: Console) -> dict[str, Any]:
    """Run what the config describes in this process, together with those that were launched with it."""
    join(parts.trainer)
    log = RunLog(parts.space.describe())
    on_main_process(lambda: _start_loggers(log, config, parts))
    status = "failed"
    try:
        summary = Run(config, parts, folder, console, log).go()
        status = "success"
    finally:
        log.finish(status)
    show_summary(console, summary, folder)  # after what loggers have to say at their end
    return summary


def _start_loggers(log: RunLog, config: DictConfig, parts: Components) -> None:
    loggers = [instantiate(logger) for logger in config.logger.values() if logger is not None]
    unused = () if parts.genotype is None else ("search", "selection")  # a dashboard would group by them
    log.start(loggers, redact_all(to_plain_dict(config, *unused)))


def redact_hydra_files(folder: Path) -> None:
    """Take the user's home folder and name out of what Hydra wrote of a run: a run's folder is passed on."""
    hydra = HydraConfig.get()
    redact_files(*(folder / str(hydra.output_subdir) / f"{name}.yaml" for name in ("config", "hydra", "overrides")))
    if hydra.mode == RunMode.MULTIRUN:
        redact_files(Path(hydra.sweep.dir) / "multirun.yaml")


def _write_name(config: DictConfig, folder: Path) -> None:
    """Write the run's name into its config in place of the resolver that it comes from: those are not read back."""
    file = folder / str(HydraConfig.get().output_subdir) / "config.yaml"
    if file.is_file():
        line = f"name: {json.dumps(config.name)}"
        text = re.sub(r"^name: .*$", lambda _: line, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        _write(file, text)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


@dataclass
class Run:
    """One run of the pipeline."""

    config: DictConfig
    parts: Components
    folder: Path
    console: Console
    log: RunLog
    data_checked: bool = False

    def go(self) -> dict[str, Any]:
        """Make or reuse every stage, then write what came of it."""
        genotype, finished = self._stages()
        return on_main_process(lambda: self._conclude(genotype, finished))

    def _stages(self) -> tuple[Genotype, dict[str, StageResult]]:
        parts, config, store = self.parts, self.config, Store(self.config.logs)
        job = StageContext(parts.seed, parts.space, parts.data, parts.trainer, store, self.console, self.log.record)
        plan = Plan(config, parts, job)
        finished: dict[str, StageResult] = {}
        search = plan.search()
        show_plan(self.console, config.name, parts, job.store, search)
        genotype = parts.genotype
        if genotype is None:
            finished["search"] = self._run(search, plan)
            finished["selection"] = self._run(plan.selection(finished["search"]), plan)
            genotype = Genotype.from_text(finished["selection"].result["genotype"])
        evaluation = plan.evaluation(genotype)
        if evaluation is not None:
            finished["evaluation"] = self._run(evaluation, plan)
        return genotype, finished

    def _run(self, stage: Stage, plan: Plan) -> StageResult:
        """Make or reuse one stage. Before the first that there is work for, the data are checked and the time told."""
        folder = plan.job.store.folder(stage.key)
        if not self.data_checked and on_main_process(lambda: folder.state != "finished"):
            check_data(self.parts)
            show_data(self.console, self.parts.data)
            self.data_checked = True
            if (estimate := on_main_process(lambda: how_long(plan))) is not None:
                self.console.print(estimate, soft_wrap=True)
        return run_stage(stage, plan.job)

    def _conclude(self, genotype: Genotype, finished: Mapping[str, StageResult]) -> dict[str, Any]:
        parts = self.parts
        evaluation = finished["evaluation"].result if "evaluation" in finished else {}
        summary: dict[str, Any] = {
            "name": self.config.name,
            "search_space": parts.space.name,
            "search": parts.search.name if parts.genotype is None else None,
            "selection": parts.selection.name if parts.genotype is None else None,
            "evaluation": parts.evaluation.name,
            "data": parts.data.name,
            "class_names": list(parts.data.class_names),
            "seed": parts.seed,
            "genotype": str(genotype),
            "params": evaluation.get("params"),
        }
        summary |= summarise({kind: stage.result for kind, stage in finished.items()})
        summary["stages"] = {
            kind: {
                "folder": redact(str(stage.folder.path.resolve())),
                "seconds": round(stage.folder.seconds, 3),
                "reused": stage.reused,
            }
            for kind, stage in finished.items()
        }
        self._write_results(summary, genotype, finished)
        return summary

    def _write_results(
        self, summary: Mapping[str, Any], genotype: Genotype, finished: Mapping[str, StageResult]
    ) -> None:
        _write(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        _write(self.folder / "genotype.json", genotype.to_json() + "\n")
        for kind, stage in finished.items():
            link = self.folder / kind
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(stage.folder.path, self.folder.resolve()), target_is_directory=True)
        ranking = self.parts.genotype is None and self.parts.selection.report_strengths
        if ranking:
            self._write_strengths(finished["selection"])
        figures = draw_figures(self.folder / "figures", genotype, finished, ranking, self.parts.formats)
        self.log.figures(figures)
        for name, columns, rows in tables(summary, finished):
            self.log.table(name, columns, rows)
        self.log.summary({**summary, **comparison(summary)})

    def _write_strengths(self, selection: StageResult) -> None:
        rows = strengths(selection.folder.read_lines(DECISIONS))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([STRENGTHS, *rows])
        _write(self.folder / "strengths.csv", text.getvalue())
        self.log.table("strengths", list(STRENGTHS), rows)
        show_strengths(self.console, rows)
