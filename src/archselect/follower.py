"""One of the other processes of a run on several devices: `python -m archselect.follower`, started by `ProcessTeam`.

It is told on its standard input what to do, works on the stages that the first process works on, and writes nothing.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypedDict

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from archselect import ranks
from archselect.config import instantiate_parts
from archselect.genotype import Genotype
from archselect.plan import Plan
from archselect.quiet import quiet_lightning
from archselect.ranks import Share
from archselect.stages import EvaluationStage, SearchStage, SelectionStage
from archselect.stages.devices import devices_of, synchronised
from archselect.stages.job import Finished, Job, Stage, fitting_for, work
from archselect.stages.progress import Progress
from archselect.store import StageFolder, Store


class Start(TypedDict):
    """The first thing that a process is told: the resolved config of the job, and where it stands among how many."""

    config: Mapping[str, Any]
    rank: int
    count: int
    port: int


def order_of(stage: Stage) -> dict[str, Any]:
    """Return what a process has to know to make a stage of the same job, as plain data."""
    order: dict[str, Any] = {"kind": stage.key.kind, "digest": stage.key.digest}
    match stage:
        case SearchStage():
            return order
        case SelectionStage():
            return {**order, "search": str(stage.search.folder.path), "snapshot": stage.snapshot}
        case EvaluationStage():
            return {**order, "genotype": str(stage.genotype)}
        case _:
            raise TypeError(f"A stage of kind {stage.key.kind} is worked on by one process.")


def stage_of(plan: Plan, order: Mapping[str, Any]) -> Stage:
    """Return the stage that `order_of` was given."""
    stage: Stage | None
    if order["kind"] == "search":
        stage = plan.search()
    elif order["kind"] == "selection":
        folder = StageFolder.found(Path(order["search"]))
        stage = plan.selection(Finished(folder, folder.result(), reused=True), order["snapshot"])
    else:
        stage = plan.evaluation(Genotype.from_text(order["genotype"]))
    assert stage is not None
    assert stage.key.digest == order["digest"], "the same config makes the same stages in every process"
    return stage


class Orders:
    """What the first process says, line by line. When it is gone, this process ends at once."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Any:
        """Return the next one."""
        return self._lines.get()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (order := self.next())["kind"] != "end":
            yield order

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            order = json.loads(line)
            self._lines.put(order)
            if order.get("kind") == "end":
                return
        os._exit(1)


def follow(start: Start, orders: Orders) -> None:
    """Join the others and work on one stage after the other."""
    config = OmegaConf.create(dict(start["config"]))
    assert isinstance(config, DictConfig)
    parts = instantiate_parts(config)
    own = Share(start["rank"], start["count"])
    ranks.join(
        ranks.meeting(own.of, start["port"]), own, devices_of(parts.trainer)[own.rank], synchronised(parts.trainer)
    )
    quiet = Console(quiet=True)
    job = Job(parts.seed, parts.space, parts.data, parts.trainer, Store(config.logs), quiet, lambda kind, record: None)
    plan = Plan(config, parts, job)
    for order in orders:
        stage = stage_of(plan, order)
        work(stage, fitting_for(job.store.folder(stage.key), job, Progress(quiet, stage.key.kind)))
    ranks.leave()


def main() -> None:
    """Be one of the processes of a run until the first one says that it is over, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process answers these
        signal.signal(number, signal.SIG_IGN)
    quiet_lightning()
    orders = Orders()
    follow(orders.next(), orders)


if __name__ == "__main__":
    main()
