"""`python train.py ...` from a test, and what it leaves behind.

train, sweep          in this process: quick
analyze               `python analyze.py ...`, likewise
Apart                 in a process of its own, which may be killed at a given call of a given function
tiny                  the overrides of the smallest run in a search space
Run                   a run folder: summary, stages, histories, decisions
"""

import functools
import importlib
import json
import logging
import multiprocessing
import os
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from signal import SIGINT, SIGKILL, Signals, default_int_handler, signal
from types import MappingProxyType
from typing import Any
from unittest import mock

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from archselect.analysis import command
from archselect.pipeline import run as pipeline
from archselect.pipeline.config import Components, instantiate_parts

TRAIN = Path(__file__).parents[1] / "train.py"
ANALYZE = TRAIN.parent / "analyze.py"
CONFIGS = TRAIN.parent / "configs"

# Spawned once, it has imported everything; its children start at once and share no threads with the tests.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["archselect.pipeline.run", "hydra.main", "sklearn.datasets"])


def tiny(space: str = "s2", search: str = "darts", selection: str = "perturb", *more: str) -> list[str]:
    """Return the overrides of the smallest run in a search space."""
    return ["experiment=tiny", f"search_space={space}", f"search={search}", f"selection={selection}", *more]


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @cached_property
    def config(self) -> DictConfig:
        config = OmegaConf.load(self.folder / ".hydra" / "config.yaml")
        assert isinstance(config, DictConfig)
        return config

    @cached_property
    def parts(self) -> Components:
        return instantiate_parts(self.config)

    def stage(self, kind: str) -> Path:
        return Path(self.summary["stages"][kind]["folder"])

    def reused(self) -> dict[str, bool]:
        return {kind: stage["reused"] for kind, stage in self.summary["stages"].items()}

    def history(self, kind: str) -> list[dict[str, Any]]:
        return lines(self.stage(kind) / "history.jsonl")

    def decisions(self) -> list[dict[str, Any]]:
        return lines(self.stage("selection") / "decisions.jsonl")


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the records of a `.jsonl` file; none if there is no such file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def train(*overrides: str) -> Run:
    """Run `python train.py OVERRIDES` in this process."""
    (run,) = _main(overrides)
    return run


def sweep(*overrides: str) -> list[Run]:
    """Run `python train.py -m OVERRIDES` in this process and return its jobs in order."""
    return _main(["-m", *overrides])


def analyze(*overrides: str) -> Path:
    """Run `python analyze.py OVERRIDES` in this process and return the folder that it wrote."""
    folders: list[Path] = []

    def run(config: DictConfig) -> Any:
        folders.append(Path(HydraConfig.get().runtime.output_dir))
        return original(config)

    original = command.analyze
    with mock.patch.object(command, "analyze", run):
        _script(ANALYZE, overrides)
    (folder,) = folders
    return folder


def _main(arguments: Sequence[str]) -> list[Run]:
    runs: list[Run] = []

    def run(config: DictConfig) -> dict[str, Any]:
        runs.append(Run(Path(HydraConfig.get().runtime.output_dir)))
        return original(config)

    original = pipeline.run
    with mock.patch.object(pipeline, "run", run):
        _script(TRAIN, arguments)
    return runs


def _script(script: Path, arguments: Sequence[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with mock.patch.dict(os.environ), mock.patch.object(sys, "argv", [str(script), *arguments]):
            runpy.run_path(str(script), run_name="__main__")
    finally:  # Hydra's logging goes to the run folder
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers, root.level = handlers, level


@dataclass(frozen=True)
class Blow:
    """A signal that hits the process as it enters a function for the `call`th time."""

    function: str
    """`module:qualified.name`"""
    call: int
    signal: Signals = SIGKILL


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (negative: killed by that signal), calls of each counted function."""

    code: int | None
    calls: Counter[str]


class Apart:
    """`python train.py ARGUMENTS` in a process of its own, without its figures.

    Args:
        folder: An empty or absent folder for what the process leaves for this class.
        arguments: Of the command.
        blow: What hits it.
        counted: Functions, as `module:qualified.name`, whose calls are counted.
        environment: Variables of the process besides those of this one.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        blow: Blow | None = None,
        counted: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder / "output.txt"
        self.output.touch()
        self._calls = folder / "calls.txt"
        self._process = _PROCESSES.Process(
            target=_child, args=(list(arguments), blow, tuple(counted), dict(environment), self.output, self._calls)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def send(self, number: Signals) -> None:
        """Send it a signal; none if it has ended."""
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return not self._process.is_alive()

    def end(self, timeout: float = 120) -> Ended:
        """Wait for the end."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise TimeoutError(f"The run is still at work after {timeout} s:\n{self.output.read_text()}")
        calls = self._calls.read_text().split() if self._calls.exists() else []
        return Ended(self._process.exitcode, Counter(calls))


def _child(
    arguments: list[str],
    blow: Blow | None,
    counted: tuple[str, ...],
    environment: dict[str, str],
    output: Path,
    calls: Path,
) -> None:
    os.environ.update(environment)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    pipeline.draw_figures = lambda *_: []  # they take longer than a tiny run
    for function in counted:
        _before(function, lambda function=function: _note(calls, function))
    if blow is not None:
        seen = Counter[str]()

        def strike() -> None:
            seen[blow.function] += 1
            if seen[blow.function] == blow.call:
                os.kill(os.getpid(), blow.signal)

        _before(blow.function, strike)
    signal(SIGINT, default_int_handler)  # whoever runs the tests in the background has it ignored
    sys.argv = [str(TRAIN), *arguments]
    runpy.run_path(str(TRAIN), run_name="__main__")


def _note(file: Path, name: str) -> None:
    with file.open("a") as stream:
        stream.write(f"{name}\n")


def _before(function: str, act: Callable[[], None]) -> None:
    """Make `function` call `act` first."""
    module, _, path = function.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        act()
        return original(*args, **kwargs)

    setattr(owner, name, replacement)
