"""The selection stage: an architecture is read off the supernet, which may be tuned between the decisions."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from archselect.distributed.process_group import check_same, whole_batches
from archselect.networks.supernet import Supernet
from archselect.optimizer_step import OptimizerState
from archselect.search import SearchMethod, SearchModule
from archselect.selection import Point, Selector, Tuning
from archselect.selection.decision import Decision, OperationDecision, from_record
from archselect.stages.checkpoint import save
from archselect.stages.fitting import Fitting
from archselect.stages.job import Finished, Job
from archselect.stages.progress import Progress
from archselect.stages.search import (
    SUPERNET,
    describe_supernet,
    load_architecture_state,
    load_supernet,
    search_loaders,
)
from archselect.stages.trials import StageTrials, trials_on
from archselect.store import DamagedError, StageFolder, StageKey

VERSION = 4
"""Raised when a change of the code changes the stage's results."""

DECISIONS = "decisions.jsonl"


@dataclass(frozen=True)
class SelectionStage:
    """Decides edge by edge and node by node.

    Attributes:
        job: What all stages share.
        search: The finished search.
        method: How the supernet was trained; tuning trains it the same way.
        selector: Makes the decisions.
        identity: The parts of the config that determine the result.
        config: The resolved config of the stage.
        label: Readable name.
        snapshot: Select from the supernet as it was after so many epochs; None: from the last.
    """

    job: Job
    search: Finished
    method: SearchMethod
    selector: Selector
    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    label: str
    snapshot: int | None = None

    @property
    def key(self) -> StageKey:
        """See `Stage.key`."""
        identity = {"version": VERSION, "search": self.search.folder.key.digest, **self.identity}
        if self.snapshot is not None:
            identity["snapshot"] = self.snapshot
        return StageKey("selection", self.label, identity)

    def work(self, fitting: Fitting) -> Mapping[str, Any]:
        """Make all decisions and write the genotype."""
        folder, job = fitting.folder, self.job
        folder.write_json("space.json", job.space.describe())
        supernet = load_supernet(job, self.method, self.search.folder.path, self.snapshot)
        points = self.selector.points(supernet.cell_spaces, supernet.decisions)
        decider = Decider(self.selector, supernet, folder, fitting.progress, job.seed)
        tuning = self.selector.tuning
        epochs = tuning.total_epochs(points) if tuning and points else 0
        if tuning is None or epochs == 0:
            supernet.to(fitting.device)
            decider.trials = self._trials(supernet, fitting, fitting.device)
            fitting.progress.start(total=points, completed=0)
            for point in range(points):
                decider.decide(Point(point, points), epoch=0)
                fitting.progress.advance()
        else:
            method = self.method.for_tuning(epochs, tuning.learning_rate, tuning.schedule, tuning.train_alpha)
            due = {tuning.epoch_of(point, points): Point(point, points) for point in range(points)}
            state = self._architecture_state(method, tuning)
            module = SearchModule(supernet, method, job.data.classes, (job.seed, "selection"), state)
            fitting.fit(
                module,
                lambda device: search_loaders(job.data, method, device, job.seed, "selection", self._held_out),
                epochs,
                callbacks=[DecisionCallback(decider, due, lambda device: self._trials(supernet, fitting, device))],
                describe=lambda: {**describe_supernet(supernet), **module.per_class},
            )
            save(supernet.cpu().state_dict(), folder.path / SUPERNET)
        genotype = supernet.genotype()
        check_same(
            str(genotype), "The processes of this run chose different architectures, as devices of different kinds may."
        )
        folder.write_text("genotype.json", genotype.to_json())
        return {"genotype": str(genotype), "decisions": len(folder.read_lines(DECISIONS)), "epochs": epochs}

    def _architecture_state(self, method: SearchMethod, tuning: Tuning) -> OptimizerState | None:
        """Return what the optimizer of `alpha` goes on from; None where it starts afresh, or `alpha` does not train."""
        if method.architecture_gradient is None or tuning.architecture_optimizer_state == "fresh":
            return None
        return load_architecture_state(self.search.folder.path, self.snapshot)

    @property
    def _held_out(self) -> float:
        return self.selector.scoring.held_out_share if self.selector.scoring else 0.0

    def _trials(self, supernet: Supernet, fitting: Fitting, device: torch.device) -> StageTrials:
        return trials_on(supernet, self.job, self.method, self.selector.scoring, fitting, device)


class Decider:
    """Makes the decisions of a point, writes each down before it counts, and applies it.

    Decisions of a point that a killed session wrote down are not scored again: the supernet stands where it stood when
    they were made.
    """

    def __init__(
        self, selector: Selector, supernet: Supernet, folder: StageFolder, progress: Progress, seed: int
    ) -> None:
        self.selector = selector
        self.supernet = supernet
        self.folder = folder
        self.progress = progress
        self.seed = seed
        self.trials: StageTrials | None = None
        self._undecided = supernet.decisions

    def decide(self, point: Point, epoch: int) -> None:
        """Make what is left to decide of `point`; where it is the only one, all of it."""
        with whole_batches():
            self._decide(point, epoch)

    def _decide(self, point: Point, epoch: int) -> None:
        assert self.trials is not None, "trials come with the device"
        self.progress.say(f"decision {point.number + 1}/{point.of}")
        if point.of == 1:
            # What is decided in one go is a function of the supernet as the search left it.
            self.folder.keep_lines(DECISIONS, lambda record: False)
        for record in self.folder.read_lines(DECISIONS):
            if record["point"] == point.number:
                self._apply(from_record(record, self.supernet.cell_spaces))
        started = time.perf_counter()
        for decision in self.selector.decide(point, self.supernet, self.trials, self.seed):
            record = decision.to_record(self.supernet.cell_spaces[decision.cell])
            seconds = time.perf_counter() - started
            self.folder.append_line(DECISIONS, {"point": point.number, "epoch": epoch, **record, "seconds": seconds})
            self._apply(decision)
            started = time.perf_counter()

    def go_on(self, made: int, begun: int) -> None:
        """Keep the decisions of the points up to `begun`: the checkpoint that is gone on from does not know later ones.

        Args:
            made: So many points were made before the checkpoint.
            begun: The last point that may have been begun after it.

        Raises:
            DamagedError: The checkpoint knows decisions that are not written down, or others.
        """
        self.folder.keep_lines(DECISIONS, lambda record: record["point"] <= begun)
        decisions = dict(self._undecided)
        for record in self.folder.read_lines(DECISIONS):
            if record["point"] < made:
                decision = from_record(record, self.supernet.cell_spaces)
                space = self.supernet.cell_spaces[decision.cell]
                decisions[decision.cell] = decision.apply(space, decisions[decision.cell])
        if decisions != dict(self.supernet.decisions):
            raise DamagedError(f"{DECISIONS} does not hold the decisions that the checkpoint was tuned under")

    def _apply(self, decision: Decision) -> None:
        space = self.supernet.cell_spaces[decision.cell]
        decisions = dict(self.supernet.decisions)
        decisions[decision.cell] = decision.apply(space, decisions[decision.cell])
        self.supernet.decisions = decisions
        if isinstance(decision, OperationDecision) and decision.trial is not None:
            assert self.trials is not None, "trials come with the device"
            self.trials.adopt(decision.trial)


class DecisionCallback(Callback):
    """Makes the decision points that are due before an epoch of the tuning."""

    def __init__(
        self, decider: Decider, due: Mapping[int, Point], trials: Callable[[torch.device], StageTrials]
    ) -> None:
        self.decider = decider
        self.due = due
        self.make_trials = trials

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the scoring images on the device."""
        self.decider.trials = self.make_trials(pl_module.device)
        now = trainer.current_epoch
        made = sum(epoch < now for epoch in self.due)
        self.decider.go_on(made, begun=made if now in self.due else made - 1)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide, if a point is due."""
        point = self.due.get(trainer.current_epoch)
        if point is not None:
            self.decider.decide(point, trainer.current_epoch)
