"""A run: search, selection and evaluation, each from the store where it is there already."""

import csv
import io
import json
import logging.config
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
from archselect.evaluation import Retraining
from archselect.genotype import Genotype
from archselect.pipeline import console as show
from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.config import Components, as_user_error, check_groups, instantiate_parts, to_plain_dict
from archselect.pipeline.console import draw_figures
from archselect.pipeline.finished_run import FinishedRun, open_run, summarise
from archselect.pipeline.loggers import RunLog
from archselect.pipeline.memory import show_memory
from archselect.pipeline.own_code import own_targets
from archselect.pipeline.plan import Plan, how_long
from archselect.pipeline.preflight import check, check_data, check_objective, check_task
from archselect.pipeline.run_costs import cost_options, costs_of_run
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import Stage, StageContext, StageResult, run_stage
from archselect.results.formatting import comparison
from archselect.results.grid import FAILED, REFUSED, forget_failure, keep_failure
from archselect.results.metric import Metric
from archselect.store import Store, write_text
from archselect.store.redact_paths import CONFIG, SUMMARY, expanded, redact, redact_all, redact_files
from archselect.training.devices import join, process_count, silence_lightning_warnings
from archselect.training.progress import warn
from archselect.utils.console import print_titled
from archselect.utils.errors import UserError, sentence, stopping_on_signals


def objective(config: DictConfig, summary: Mapping[str, Any]) -> float | None:
    """Return `optimized_metric` of a finished run; None where none is named."""
    return None if config.optimized_metric is None else float(summary[config.optimized_metric])


def run(config: DictConfig) -> dict[str, Any]:
    """Run what the config describes and return the summary, which is also written into Hydra's run folder.

    On several devices this is what every process does that torchrun or Slurm started; started by itself, a process
    starts one for each device to do it.

    Raises:
        UserError: An option, the data or the disk does not allow it; the folder says why.
    """
    silence_lightning_warnings()
    config, console = expanded(config), Console(highlight=False)
    folder, alone = Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().mode == RunMode.RUN
    with errors_in_order(), stopping_on_signals(console), log_exceptions():
        with recording_failures(config, folder, REFUSED):
            redact_hydra_files(folder)
            _write_name(config, folder)
            forget_failure(folder)
            parts = _checked(config)
            _say_unnamed(config, console)
        with recording_failures(config, folder, FAILED):
            if launched() is not None or (processes := process_count(parts.trainer)) == 1:
                return _run(config, parts, folder, console, alone)
            settings = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
            arguments = to_plain_dict(config), str(folder), settings, alone
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


@contextmanager
def recording_failures(config: DictConfig, folder: Path, of_user: str) -> Iterator[None]:
    """Turn what a user can mend into a `UserError`, and write down why a run failed, for the report on a sweep.

    Args:
        config: Of the run.
        folder: Of the run.
        of_user: The file for an error that a user can mend: `REFUSED` before the run begins; `FAILED` is for others.
    """
    try:
        with as_user_error():
            yield
    except Exception as error:
        with suppress(OSError):  # on a full disk the error itself is what matters
            keep_failure(folder, config, redact(sentence(error)), of_user if isinstance(error, UserError) else FAILED)
        raise


@contextmanager
def log_exceptions() -> Iterator[None]:
    """Write an error into the run folder's log too: of a sweep's errors, the terminal shows a line each."""
    try:
        yield
    except Exception as error:
        logging.getLogger(__name__).error("%s", error, exc_info=not isinstance(error, UserError))
        raise


def redact_hydra_files(folder: Path) -> None:
    """Take the user's home folder and name out of what Hydra wrote of a run: a run's folder is passed on."""
    hydra = HydraConfig.get()
    redact_files(*(folder / str(hydra.output_subdir) / f"{name}.yaml" for name in ("config", "hydra", "overrides")))
    if hydra.mode == RunMode.MULTIRUN:
        redact_files(Path(hydra.sweep.dir) / "multirun.yaml")


def _write_name(config: DictConfig, folder: Path) -> None:
    """Write the run's name into its config in place of the resolver that it comes from: those are not read back."""
    if (file := folder / CONFIG).is_file():
        line = f"name: {json.dumps(config.name)}"
        write_text(file, re.sub(r"^name: .*$", lambda _: line, file.read_text(encoding="utf-8"), flags=re.MULTILINE))


def _say_unnamed(config: DictConfig, console: Console) -> None:
    """Warn where parts are added to a search that keeps its name: a report would average both."""
    hydra, name = HydraConfig.get(), config.search.name
    typed = dict(override.partition("=")[::2] for override in hydra.overrides.task)
    added = "+".join(re.findall(r"\w+", typed.get("search/part", "")))
    if added and name == hydra.runtime.choices["search"]:
        words = f"with {added} this is still search={name} in reports, which average both: search.name={name}+{added}"
        warn(console, "search", f"{words} tells them apart")


def _checked(config: DictConfig) -> Components:
    check_groups(config)
    check_objective(config)
    with as_user_error():
        cost_options(config)
    parts = instantiate_parts(config)
    check(parts)
    return parts


def _run_in_process(config: dict[str, Any], folder: str, log: dict[str, Any], alone: bool) -> dict[str, Any]:
    """Be one of the processes that a run starts."""
    end_with_launcher()
    silence_lightning_warnings()
    if is_main_process():
        logging.config.dictConfig(log)
    made, own = DictConfig(config), Path(rank_zero_folder(folder))
    with errors_in_order(), stopping_on_signals(Console(quiet=True)), as_user_error():
        return _run(made, _checked(made), own, Console(highlight=False), alone)


def _run(config: DictConfig, parts: Components, folder: Path, console: Console, alone: bool) -> dict[str, Any]:
    """Run what the config describes in this process, with those launched with it; `alone` is no job of a sweep."""
    join(parts.trainer)
    log = RunLog(parts.space.describe())
    on_main_process(lambda: _start_loggers(log, config, parts))
    status = "failed"
    try:
        job = StageContext(
            parts.seed, parts.space, parts.data, parts.task, parts.trainer, Store(config.logs), console, log.record
        )
        summary = Run(Plan(config, parts, job), folder, log).go()
        status = "success"
    finally:
        log.finish(status)
    following = _following(config, parts, folder) if alone else ()
    show.show_summary(console, summary, folder, following)  # after what loggers have to say at their end
    return summary


def _following(config: DictConfig, parts: Components, folder: Path) -> list[str]:
    """Return the commands that one may type after a run; one that reads it back is told whose classes it may make."""
    read_back = OmegaConf.masked_copy(config, [str(key) for key in config if key != "logger"])
    shown = os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)
    own = sorted({target.partition(".")[0] for target in own_targets(OmegaConf.to_container(read_back))})
    of_run = [f"run={shown}", *([f"trusted=[{','.join(own)}]"] if own else [])]
    undecided = parts.genotype is None and not parts.search.decides_all(parts.space.cells)  # by the search
    commands = [["analyze.py", "analysis=operation_strength", *of_run]] if undecided else []
    if isinstance(parts.evaluation, Retraining):
        commands += [["predict.py", "images=test", *of_run], ["export.py", "format=onnx", *of_run]]
    commands.append(["-m", "archselect.reporting", str(config.logs)])
    beside = Path(sys.argv[0]).parent  # the scripts lie beside the one that was typed
    if beside.resolve() != Path.cwd() and (beside / "analyze.py").is_file():
        for words in commands[:-1]:
            words[0] = str(beside / words[0])
    return [shlex.join(["python", *words]) for words in commands]


def _start_loggers(log: RunLog, config: DictConfig, parts: Components) -> None:
    loggers = [instantiate(logger) for logger in config.logger.values() if logger is not None]
    unused = () if parts.genotype is None else ("search", "selection")  # a dashboard would group by them
    log.start(loggers, redact_all(to_plain_dict(config, *unused)))


@dataclass
class Run:
    """The stages of a plan, made or reused, and what they come to in the run's folder."""

    plan: Plan
    folder: Path
    log: RunLog
    data_checked: bool = False

    def go(self) -> dict[str, Any]:
        """Make or reuse every stage, then write what came of it."""
        plan, finished = self.plan, dict[str, StageResult]()
        if any(plan.job.store.folder(stage.key).state != "finished" for stage in plan.known().values()):
            check_task(plan.parts)
        show.show_plan(plan)
        genotype = plan.parts.genotype
        if genotype is None:
            finished["search"] = self._run(plan.search())
            finished["selection"] = self._run(plan.selection(finished["search"]))
            genotype = Genotype.from_text(finished["selection"].result["genotype"])
        if (evaluation := plan.evaluation(genotype)) is not None:
            finished["evaluation"] = self._run(evaluation)
        return on_main_process(lambda: self._conclude(genotype, finished))

    def _run(self, stage: Stage) -> StageResult:
        """Make or reuse one stage. Before the first that there is work for, the data are checked and the time told."""
        plan, job = self.plan, self.plan.job
        folder = job.store.folder(stage.key)
        if not self.data_checked and on_main_process(lambda: folder.state != "finished"):
            check_data(plan.parts)
            show.show_data(job.console, job.data, job.task)
            self.data_checked = True
            on_main_process(lambda: show_memory(plan))
            if (estimate := on_main_process(lambda: how_long(plan))) is not None:
                print_titled(job.console, "time", estimate)
        return run_stage(stage, job)

    def _conclude(self, genotype: Genotype, finished: Mapping[str, StageResult]) -> dict[str, Any]:
        """Write and log what the stages came to, and return the summary."""
        parts, folder, log = self.plan.parts, self.folder, self.log
        summary = self._summary(genotype, finished)
        write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        write_text(folder / "genotype.json", genotype.to_json() + "\n")
        for kind, stage in finished.items():
            link = folder / kind
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(stage.folder.path, folder.resolve()), target_is_directory=True)
        ranking = parts.genotype is None and parts.selection.report_strengths
        if ranking:
            rows = show.ranked(finished["selection"].folder.read_lines(DECISIONS))
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([show.RANKING, *rows])  # NaN stays "nan", None is empty
            write_text(folder / "strengths.csv", text.getvalue())
            log.table("strengths", show.RANKING, rows)
            show.show_ranking(self.plan.job.console, rows)
        looks = Metric.of(summary), parts.space.primitives
        log.figures(draw_figures(folder / "figures", genotype, finished, ranking, parts.formats, *looks))
        for name, columns, lines in show.tables(summary, finished):
            log.table(name, columns, lines)
        log.summary({**summary, **comparison(summary)})
        return summary

    def _summary(self, genotype: Genotype, finished: Mapping[str, StageResult]) -> dict[str, Any]:
        parts, searched = self.plan.parts, self.plan.parts.genotype is None
        return {
            "name": self.plan.config.name,
            "search_space": parts.space.name,
            "search": parts.search.name if searched else None,
            "selection": parts.selection.name if searched else None,
            "evaluation": parts.evaluation.name,
            "data": parts.data.name,
            "task": parts.task.name,
            "metric": parts.task.metric,
            "metric_mode": parts.task.mode,
            "class_names": list(parts.data.class_names),
            "seed": parts.seed,
            "genotype": str(genotype),
            "params": finished["evaluation"].result.get("params") if "evaluation" in finished else None,
            **costs_of_run(self.plan, genotype),
            **summarise({kind: stage.result for kind, stage in finished.items()}),
            "stages": {
                kind: {
                    "folder": redact(str(stage.folder.path.resolve())),
                    "seconds": round(stage.folder.seconds, 3),
                    "reused": stage.reused,
                }
                for kind, stage in finished.items()
            },
        }
