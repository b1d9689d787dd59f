"""The selection stage: an architecture is read off the supernet, which may be tuned between the decisions.

SelectionStage   all decisions, in one fit where the supernet is tuned
DecisionLoop     makes the decisions of a step, and goes on where a session was cut off
StageEvaluator   what a selection or an analysis may try on a supernet: scores of it, and copies trained on trial
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from archselect.distributed.process_group import check_same, on_main_process, whole_batches
from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.search_stage import SUPERNET, describe_supernet, load_architecture_state, load_supernet
from archselect.pipeline.stage import RunStage, StageContext
from archselect.search import SearchMethod, SearchModule
from archselect.search.data import architecture_images, fixed_batches, hold_out, search_loaders, training_batches
from archselect.selection import DecisionStep, Score, Scorer, Scoring, Selector, SuccessiveElimination, TrialTraining
from archselect.selection.decisions import Decision, OperationDecision, from_record
from archselect.store import SCRATCH, DamagedError, StageFolder
from archselect.tasks import Task
from archselect.training.checkpoint import load_state, save
from archselect.training.cuda_graphs import Capture, capture_for
from archselect.training.fit import StageTrainer
from archselect.training.progress import Progress

DECISIONS, TRIALS = "decisions.jsonl", "trials.jsonl"


@dataclass(frozen=True)
class SelectionStage(RunStage):
    """Decides edge by edge and node by node, from the supernet of a search or its `snapshot` after so many epochs.

    Tuning trains the supernet by the `method` by which the search did.
    """

    kind = "selection"

    method: SearchMethod
    selector: Selector
    search: Path
    snapshot: int | None = None

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        """Make all decisions and write the genotype."""
        folder, job = stage_trainer.folder, self.job
        folder.write_json("space.json", job.space.describe())
        supernet = load_supernet(job, self.method, self.search, self.snapshot)
        budget = self.selector.budget
        if budget is not None:
            advice = "Search again without search.greedy, or raise the limit."
            budget.check(supernet.decisions, "Every network that the search has left to choose", advice)
        steps = self.selector.steps(supernet.cell_spaces, supernet.decisions)
        loop = DecisionLoop(steps, self.selector, supernet, folder, stage_trainer.progress, job.seed)
        epochs = sum(len(step.epochs) for step in steps)
        if self.selector.tuning and epochs:
            self._decide_and_tune(loop, epochs, stage_trainer)
        else:
            evaluator = self._evaluator(supernet.to(stage_trainer.device), stage_trainer, stage_trainer.device)
            stage_trainer.progress.start(total=len(steps), completed=0)
            for step in steps:
                loop.decide(step, evaluator)
                stage_trainer.progress.advance()
        genotype = supernet.genotype()
        different = "The processes of this run chose different architectures, as devices of different kinds may."
        check_same(str(genotype), different)
        folder.write_text("genotype.json", genotype.to_json())
        made = folder.read_lines(DECISIONS)
        return {"genotype": str(genotype), "decisions": len(made), "epochs": epochs, **self._limits(genotype, made)}

    def _limits(self, genotype: Genotype, decisions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the limits and what they are of the architecture, and how many decisions had fewer candidates."""
        budget = self.selector.budget
        if budget is None:
            return {}
        limited = sum("excluded" in decision for decision in decisions)
        return {"limit": budget.describe(genotype), "limited_decisions": limited}

    def _decide_and_tune(self, loop: "DecisionLoop", epochs: int, stage_trainer: StageTrainer) -> None:
        """Tune the supernet in one fit, before whose epochs the steps are decided, and keep it."""
        job, supernet, scoring, tuning = self.job, loop.supernet, self.selector.scoring, self.selector.tuning
        assert tuning is not None
        method = self.method.for_tuning(epochs, tuning.learning_rate, tuning.schedule, tuning.train_alpha)
        state = None
        if method.architecture_gradient is not None and tuning.architecture_optimizer_state == "search":
            state = load_architecture_state(self.search, self.snapshot)
        module = SearchModule(supernet, method, job.fitted_task, job.outputs, (job.seed, "selection"), state)
        held_out = scoring.held_out_share if scoring else 0.0
        stage_trainer.fit(
            module,
            lambda device: search_loaders(job.data, method, device, job.seed, "selection", held_out),
            epochs,
            callbacks=[DecisionCallback(loop, lambda device: self._evaluator(supernet, stage_trainer, device))],
            describe=lambda: {**describe_supernet(supernet), **module.per_class},
        )
        save(supernet.cpu().state_dict(), stage_trainer.folder.path / SUPERNET)

    def _evaluator(self, supernet: Supernet, stage_trainer: StageTrainer, device: torch.device) -> "StageEvaluator":
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

    def decide(self, step: DecisionStep, evaluator: "StageEvaluator") -> None:
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
                self._check(decision)
                record = decision.to_record(self.supernet.cell_spaces[decision.cell])
                where = {"point": step.number, "epoch": step.epochs.start}
                self.folder.append_line(DECISIONS, where | record | {"seconds": time.perf_counter() - started})
                self._apply(decision, evaluator)
                started = time.perf_counter()

    def resume(self, epoch: int, within: bool = False) -> None:
        """Forget the decisions of the steps that begin after `epoch`: the checkpoint does not know them.

        One of the middle of the epoch, `within` it, knows those that it begins with.

        Raises:
            DamagedError: The checkpoint knows decisions that are not written down, or others.
        """
        begun = {step.number for step in self.steps if step.epochs.start <= epoch}
        self.folder.keep_lines(DECISIONS, lambda record: record["point"] in begun)
        tuned = {step.number for step in self.steps if step.epochs.start < epoch + within}
        decisions = self._before
        for number, decision in self._written():
            if number in tuned:
                decisions = self._after(decision, decisions)
        if decisions != self.supernet.decisions:
            raise DamagedError(f"{DECISIONS} does not hold the decisions that the checkpoint was tuned under")

    def _written(self) -> list[tuple[int, Decision]]:
        """Return the decisions that were written down, each with the number of its step."""
        cells = self.supernet.cell_spaces
        return [(record["point"], from_record(record, cells)) for record in self.folder.read_lines(DECISIONS)]

    def _check(self, decision: Decision) -> None:
        """Raise a ValueError for a decision after which no network is within the limit."""
        budget = self.selector.budget
        if budget is not None and not budget.fits(self._after(decision, self.supernet.decisions)):
            raise ValueError(
                f"After a decision that selection={self.selector.name} made on the {decision.cell} cell no network is "
                "within selection.limit. A selection of your own chooses among self.offered(supernet, cell, edge) and "
                "self.budget.inputs(supernet.decisions, cell, node)."
            )

    def _apply(self, decision: Decision, evaluator: "StageEvaluator") -> None:
        self.supernet.decisions = self._after(decision, self.supernet.decisions)
        if isinstance(decision, OperationDecision) and decision.trial is not None:
            evaluator.adopt(decision.trial)

    def _after(self, decision: Decision, decisions: Mapping[str, CellDecisions]) -> dict[str, CellDecisions]:
        """Return what is decided once a decision is applied."""
        cell = decision.cell
        return {**decisions, cell: decision.apply(self.supernet.cell_spaces[cell], decisions[cell])}


class DecisionCallback(Callback):
    """Decides each step of a selection before the epochs of tuning that follow it."""

    def __init__(self, loop: DecisionLoop, make_evaluator: Callable[[torch.device], "StageEvaluator"]) -> None:
        self.loop, self.make_evaluator = loop, make_evaluator

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.evaluator = self.make_evaluator(pl_module.device)
        self.loop.resume(trainer.current_epoch, within=trainer.fit_loop.restarted_mid_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for step in self.loop.steps:
            if step.epochs.start == trainer.current_epoch:
                self.loop.decide(step, self.evaluator)


@dataclass(frozen=True)
class StageEvaluator:
    """Scores of a supernet on `device` as it stands; copies of it trained by `method`, kept in the stage's folder."""

    supernet: Supernet
    job: StageContext
    method: SearchMethod
    scoring: Scoring | None
    trainer: StageTrainer
    device: torch.device

    def score(
        self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None = None
    ) -> list[Score]:
        return self.scorer(candidates, elimination)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        return self.scorer.read()

    @property
    def task(self) -> Task:
        return self.job.fitted_task

    @cached_property
    def scorer(self) -> Scorer:
        """Scores the supernet."""
        return self._scorer_of(self.supernet)

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        """Train a copy, or return what it came to; the weights are written before the record that says so."""
        folder = self.trainer.folder
        for record in folder.read_lines(TRIALS):
            if record["trial"] == name:
                return Score(record[self.task.metric], record["loss"], name=self.task.metric, mode=self.task.mode)
        copy = deepcopy(self.supernet)
        copy.decisions = decisions
        self._train(copy, name, training)
        (score,) = self._scorer_of(copy)([copy.mixture_weights().detach()])
        self._file(name).parent.mkdir(parents=True, exist_ok=True)
        save(copy.cpu().state_dict(), self._file(name))
        folder.append_line(TRIALS, {"trial": name, **score.to_record()})
        return score

    def adopt(self, name: str) -> None:
        """Let the supernet stand where a trial ended, and forget the weights of the others of its group."""
        adopted = self._file(name)
        self.supernet.load_state_dict(load_state(adopted))

        def forget_others() -> None:
            for file in adopted.parent.iterdir():
                if file != adopted:
                    file.unlink()

        on_main_process(forget_others)

    def _scorer_of(self, supernet: Supernet) -> Scorer:
        assert self.scoring is not None, "a selector that scores or trains on trial names its scoring"
        return scorer_of(supernet, self.job, self.method, self.scoring, self.device)

    def _train(self, copy: Supernet, name: str, training: TrialTraining) -> None:
        job, held_out = self.job, self.scoring.held_out_share if self.scoring else 0.0
        epochs = training.epochs
        tuning = self.method.for_tuning(epochs, training.learning_rate, training.schedule, training.train_alpha)
        self.trainer.progress.say(f"training {name}")
        self.trainer.train(
            SearchModule(copy, tuning, job.fitted_task, job.outputs, (job.seed, "selection", name)),
            lambda device: search_loaders(job.data, tuning, device, job.seed, f"selection {name}", held_out),
            epochs,
        )
        copy.to(self.device)

    def _file(self, name: str) -> Path:
        return self.trainer.folder.path / SCRATCH / "trials" / f"{name}.pt"


def scorer_of(
    supernet: Supernet, job: StageContext, method: SearchMethod, scoring: Scoring, device: torch.device
) -> Scorer:
    """Return what scores a supernet on the images that train `alpha`, or on the held-out share of them."""
    weights, images = architecture_images(job.data, method, job.seed)
    if scoring.held_out_share:
        images, _ = hold_out(images, scoring.held_out_share, job.seed)
    size = min(scoring.batch_size or method.batch_size, len(images.labels))
    batches = fixed_batches(job.data, images, size, device, job.seed)
    rng_key = (job.seed, "selection", "calibration")
    calibration = training_batches(job.data, weights, min(size, len(weights.labels)), device, rng_key)
    # Every candidate has other operations, and compiling them takes longer than scoring them.
    capture = Capture() if method.capture == "compile" else capture_for(method.capture, device, supernet)
    return Scorer(supernet, job.fitted_task, batches, scoring, calibration, (job.seed, "selection"), capture)
