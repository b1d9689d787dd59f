"""The selection stage: an architecture is read off the supernet, which may be tuned between the decisions."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from archselect.distributed.process_group import check_same, on_main_process, whole_batches
from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.search_stage import (
    SUPERNET,
    describe_supernet,
    load_architecture_state,
    load_supernet,
)
from archselect.pipeline.stage import StageContext, StageResult
from archselect.search import SearchMethod, SearchModule
from archselect.search.data import (
    architecture_images,
    fixed_batches,
    hold_out,
    search_loaders,
    training_batches,
)
from archselect.selection import DecisionStep, Score, Scorer, Scoring, Selector, SuccessiveElimination, Tuning
from archselect.selection.base import TrialTraining
from archselect.selection.decisions import Decision, OperationDecision, from_record
from archselect.store import SCRATCH, DamagedError, StageFolder, StageKey
from archselect.training.checkpoint import load_state, save
from archselect.training.cuda_graphs import NoCapture, capture_for
from archselect.training.fit import StageTrainer
from archselect.training.progress import Progress
from archselect.training.step import OptimizerState

TRIALS = "trials.jsonl"

Train = Callable[[Supernet, str, TrialTraining], None]
"""(a copy of the supernet, the trial's name, how): trains the copy in place."""


class StageEvaluator:
    """Scores of the supernet as it stands, and trained copies of it, kept in the stage's folder.

    Args:
        supernet: On its device.
        folder: Of the stage.
        scorer: Makes the scorer of a supernet; returns None if the selector does not score.
        train: Trains a copy.
    """

    def __init__(
        self,
        supernet: Supernet,
        folder: StageFolder,
        scorer: Callable[[Supernet], Scorer | None],
        train: Train,
    ) -> None:
        self.supernet = supernet
        self.folder = folder
        self._make_scorer = scorer
        self._scorer = scorer(supernet)
        self._train = train

    def score(self, candidates: Sequence[MixtureWeights], race: SuccessiveElimination | None = None) -> list[Score]:
        """See `Trials`."""
        return self.scorer(candidates, race)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """See `Trials`."""
        return self.scorer.read()

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        """See `Trials`. The weights are written first, so a trial that is recorded can be adopted."""
        for record in self.folder.read_lines(TRIALS):
            if record["trial"] == name:
                return Score(record["accuracy"], record["loss"])
        copy = deepcopy(self.supernet)
        copy.decisions = decisions
        self._train(copy, name, training)
        scorer = self._make_scorer(copy)
        assert scorer is not None, "a selector that trains on trial names its scoring"
        (score,) = scorer([copy.mixture_weights().detach()])
        self._file(name).parent.mkdir(parents=True, exist_ok=True)
        save(copy.cpu().state_dict(), self._file(name))
        self.folder.append_line(TRIALS, {"trial": name, **score.to_record()})
        return score

    def adopt(self, name: str) -> None:
        """Let the supernet stand where a trial ended, and forget the weights of the others of its group."""
        self.supernet.load_state_dict(load_state(self._file(name)))
        on_main_process(lambda: self._forget_others(self._file(name)))

    @staticmethod
    def _forget_others(adopted: Path) -> None:
        for file in adopted.parent.iterdir():
            if file != adopted:
                file.unlink()

    @property
    def scorer(self) -> Scorer:
        """Scores the supernet."""
        assert self._scorer is not None, "a selector that scores names its scoring"
        return self._scorer

    def _file(self, name: str) -> Path:
        return self.folder.path / SCRATCH / "trials" / f"{name}.pt"


def evaluator_on(
    supernet: Supernet,
    job: StageContext,
    method: SearchMethod,
    scoring: Scoring | None,
    fitting: StageTrainer,
    device: torch.device,
) -> StageEvaluator:
    """Return what may be tried on a supernet in a stage of a run: scoring and training as the search did.

    Args:
        supernet: On `device`.
        job: What all stages of the run share.
        method: How the supernet was trained.
        scoring: On what it is scored; None: it is not.
        fitting: Of the stage.
        device: Where the stage computes.
    """

    def train(copy: Supernet, name: str, training: TrialTraining) -> None:
        tuning = method.for_tuning(training.epochs, training.learning_rate, training.schedule, training.train_alpha)
        fitting.progress.say(f"training {name}")
        fitting.train(
            SearchModule(copy, tuning, job.data.classes, (job.seed, "selection", name)),
            lambda device: search_loaders(
                job.data,
                tuning,
                device,
                job.seed,
                f"selection {name}",
                scoring.held_out_share if scoring else 0.0,
            ),
            training.epochs,
        )
        copy.to(device)

    def score(network: Supernet) -> Scorer | None:
        return None if scoring is None else scorer_of(network, job, method, scoring, device)

    return StageEvaluator(supernet, fitting.folder, score, train)


def scorer_of(
    supernet: Supernet, job: StageContext, method: SearchMethod, scoring: Scoring, device: torch.device
) -> Scorer:
    """Return what scores a supernet on the images that train `alpha`, or on the held-out share of them."""
    weights, images = architecture_images(job.data, method, job.seed)
    if scoring.held_out_share:
        images, _ = hold_out(images, scoring.held_out_share, job.seed)
    size = min(scoring.batch_size or method.batch_size, len(images.labels))
    batches = fixed_batches(job.data, images, size, device, job.seed)
    calibration = training_batches(
        job.data, weights, min(size, len(weights.labels)), device, (job.seed, "selection", "calibration")
    )
    # Every candidate has other operations, and compiling them takes longer than scoring them.
    name = method.capture
    capture = NoCapture() if name == "compile" else capture_for(name, device, supernet)
    return Scorer(supernet, batches, scoring, calibration, (job.seed, "selection"), capture)


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
        """See `Stage.key`."""
        identity = {"version": VERSION, "search": self.search.folder.key.digest, **self.identity}
        if self.snapshot is not None:
            identity["snapshot"] = self.snapshot
        return StageKey("selection", self.label, identity)

    def work(self, fitting: StageTrainer) -> Mapping[str, Any]:
        """Make all decisions and write the genotype."""
        folder, job = fitting.folder, self.job
        folder.write_json("space.json", job.space.describe())
        supernet = load_supernet(job, self.method, self.search.folder.path, self.snapshot)
        points = self.selector.points(supernet.cell_spaces, supernet.decisions)
        decider = DecisionLoop(self.selector, supernet, folder, fitting.progress, job.seed)
        tuning = self.selector.tuning
        epochs = tuning.total_epochs(points) if tuning and points else 0
        if tuning is None or epochs == 0:
            supernet.to(fitting.device)
            decider.trials = self._trials(supernet, fitting, fitting.device)
            fitting.progress.start(total=points, completed=0)
            for point in range(points):
                decider.decide(DecisionStep(point, points), epoch=0)
                fitting.progress.advance()
        else:
            method = self.method.for_tuning(epochs, tuning.learning_rate, tuning.schedule, tuning.train_alpha)
            due = {tuning.epoch_of(point, points): DecisionStep(point, points) for point in range(points)}
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

    def _trials(self, supernet: Supernet, fitting: StageTrainer, device: torch.device) -> StageEvaluator:
        return evaluator_on(supernet, self.job, self.method, self.selector.scoring, fitting, device)


class DecisionLoop:
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
        self.trials: StageEvaluator | None = None
        self._undecided = supernet.decisions

    def decide(self, point: DecisionStep, epoch: int) -> None:
        """Make what is left to decide of `point`; where it is the only one, all of it."""
        with whole_batches():
            self._decide(point, epoch)

    def _decide(self, point: DecisionStep, epoch: int) -> None:
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
        self, decider: DecisionLoop, due: Mapping[int, DecisionStep], trials: Callable[[torch.device], StageEvaluator]
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
