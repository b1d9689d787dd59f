"""The selection stage: an architecture is read off the supernet, which may be tuned between the decisions."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from archselect.distributed.process_group import check_same, whole_batches
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.evaluator import StageEvaluator
from archselect.pipeline.search_stage import (
    SUPERNET,
    describe_supernet,
    load_architecture_state,
    load_supernet,
)
from archselect.pipeline.stage import StageContext, StageResult
from archselect.search import SearchMethod, SearchModule
from archselect.search.data import search_loaders
from archselect.selection import DecisionStep, Selector, Tuning
from archselect.selection.decisions import Decision, OperationDecision, from_record
from archselect.store import DamagedError, StageFolder, StageKey
from archselect.training.checkpoint import save
from archselect.training.fit import StageTrainer
from archselect.training.progress import Progress

VERSION = 1
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

    job: StageContext
    search: StageResult
    method: SearchMethod
    selector: Selector
    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    label: str
    snapshot: int | None = None

    @property
    def key(self) -> StageKey:
        identity = {"version": VERSION, "search": self.search.folder.key.digest, **self.identity}
        if self.snapshot is not None:
            identity["snapshot"] = self.snapshot
        return StageKey("selection", self.label, identity)

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        """Make all decisions and write the genotype."""
        folder, job = stage_trainer.folder, self.job
        folder.write_json("space.json", job.space.describe())
        supernet = load_supernet(job, self.method, self.search.folder.path, self.snapshot)
        steps = self.selector.steps(supernet.cell_spaces, supernet.decisions)
        loop = DecisionLoop(steps, self.selector, supernet, folder, stage_trainer.progress, job.seed)
        epochs = sum(len(step.epochs) for step in steps)
        if self.selector.tuning and epochs:
            self._decide_and_tune(loop, self.selector.tuning, epochs, stage_trainer)
        else:
            evaluator = self._evaluator(supernet.to(stage_trainer.device), stage_trainer, stage_trainer.device)
            stage_trainer.progress.start(total=len(steps), completed=0)
            for step in steps:
                loop.decide(step, evaluator)
                stage_trainer.progress.advance()
        genotype = supernet.genotype()
        check_same(
            str(genotype), "The processes of this run chose different architectures, as devices of different kinds may."
        )
        folder.write_text("genotype.json", genotype.to_json())
        return {"genotype": str(genotype), "decisions": len(folder.read_lines(DECISIONS)), "epochs": epochs}

    def _decide_and_tune(self, loop: "DecisionLoop", tuning: Tuning, epochs: int, stage_trainer: StageTrainer) -> None:
        """Tune the supernet in one fit, before whose epochs the steps are decided, and keep it."""
        job, supernet, scoring = self.job, loop.supernet, self.selector.scoring
        method = self.method.for_tuning(epochs, tuning.learning_rate, tuning.schedule, tuning.train_alpha)
        state = None
        if method.architecture_gradient is not None and tuning.architecture_optimizer_state == "search":
            state = load_architecture_state(self.search.folder.path, self.snapshot)
        module = SearchModule(supernet, method, job.data.classes, (job.seed, "selection"), state)
        held_out = scoring.held_out_share if scoring else 0.0
        stage_trainer.fit(
            module,
            lambda device: search_loaders(job.data, method, device, job.seed, "selection", held_out),
            epochs,
            callbacks=[DecisionCallback(loop, lambda device: self._evaluator(supernet, stage_trainer, device))],
            describe=lambda: {**describe_supernet(supernet), **module.per_class},
        )
        save(supernet.cpu().state_dict(), stage_trainer.folder.path / SUPERNET)

    def _evaluator(self, supernet: Supernet, stage_trainer: StageTrainer, device: torch.device) -> StageEvaluator:
        return StageEvaluator(supernet, self.job, self.method, self.selector.scoring, stage_trainer, device)


@dataclass
class DecisionLoop:
    """Makes the decisions of the steps, writes each down before it counts, and applies it.

    Decisions that a killed session wrote down are not made again: the supernet stands where it stood when they were
    made.
    """

    steps: Sequence[DecisionStep]
    selector: Selector
    supernet: Supernet
    folder: StageFolder
    progress: Progress
    seed: int

    def __post_init__(self) -> None:
        self._before = self.supernet.decisions

    def decide(self, step: DecisionStep, evaluator: StageEvaluator) -> None:
        """Make what is left to decide of a step."""
        self.progress.say(f"decision {step.number + 1}/{len(self.steps)}")
        with whole_batches():
            if step.kind == "all":
                # What is decided in one go is a function of the supernet as the search left it.
                self.folder.keep_lines(DECISIONS, lambda record: False)
            made = [decision for number, decision in self._written() if number == step.number]
            for decision in made:
                self._apply(decision, evaluator)
            decided = {decision.cell for decision in made}
            step = replace(step, cells=tuple(cell for cell in step.cells if cell not in decided))
            started = time.perf_counter()
            for decision in self.selector.decide(step, self.supernet, evaluator, self.seed):
                self._write(step, decision, time.perf_counter() - started)
                self._apply(decision, evaluator)
                started = time.perf_counter()

    def resume(self, epoch: int) -> None:
        """Forget the decisions of the steps that begin after `epoch`: the checkpoint does not know them.

        Raises:
            DamagedError: The checkpoint knows decisions that are not written down, or others.
        """
        begun = {step.number for step in self.steps if step.epochs.start <= epoch}
        self.folder.keep_lines(DECISIONS, lambda record: record["point"] in begun)
        tuned = {step.number for step in self.steps if step.epochs.start < epoch}
        decisions = dict(self._before)
        for number, decision in self._written():
            if number in tuned:
                space = self.supernet.cell_spaces[decision.cell]
                decisions[decision.cell] = decision.apply(space, decisions[decision.cell])
        if decisions != dict(self.supernet.decisions):
            raise DamagedError(f"{DECISIONS} does not hold the decisions that the checkpoint was tuned under")

    def _written(self) -> list[tuple[int, Decision]]:
        """Return the decisions that were written down, each with the number of its step."""
        cells = self.supernet.cell_spaces
        return [(record["point"], from_record(record, cells)) for record in self.folder.read_lines(DECISIONS)]

    def _write(self, step: DecisionStep, decision: Decision, seconds: float) -> None:
        record = decision.to_record(self.supernet.cell_spaces[decision.cell])
        where = {"point": step.number, "epoch": step.epochs.start}
        self.folder.append_line(DECISIONS, {**where, **record, "seconds": seconds})

    def _apply(self, decision: Decision, evaluator: StageEvaluator) -> None:
        decided = decision.apply(self.supernet.cell_spaces[decision.cell], self.supernet.decisions[decision.cell])
        self.supernet.decisions = {**self.supernet.decisions, decision.cell: decided}
        if isinstance(decision, OperationDecision) and decision.trial is not None:
            evaluator.adopt(decision.trial)


class DecisionCallback(Callback):
    """Decides each step of a selection before the epochs of tuning that follow it."""

    def __init__(self, loop: DecisionLoop, make_evaluator: Callable[[torch.device], StageEvaluator]) -> None:
        self.loop = loop
        self.make_evaluator = make_evaluator

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.evaluator = self.make_evaluator(pl_module.device)
        self.loop.resume(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for step in self.loop.steps:
            if step.epochs.start == trainer.current_epoch:
                self.loop.decide(step, self.evaluator)
