"""What a selection or an analysis may try on a supernet: scores of it, and copies trained on trial."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from archselect.distributed.process_group import on_main_process
from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.stage import StageContext
from archselect.search import SearchMethod, SearchModule
from archselect.search.data import architecture_images, fixed_batches, hold_out, search_loaders, training_batches
from archselect.selection import Score, Scorer, Scoring, SuccessiveElimination, TrialTraining
from archselect.store import SCRATCH
from archselect.training.checkpoint import load_state, save
from archselect.training.cuda_graphs import Capture, capture_for
from archselect.training.fit import StageTrainer

TRIALS = "trials.jsonl"


class StageEvaluator:
    """Scores of a supernet as it stands, and copies of it trained as the search did, kept in the stage's folder.

    Args:
        supernet: On `device`.
        job: What all stages of the run share.
        method: How the supernet was trained.
        scoring: On what it is scored; None: it is not.
        stage_trainer: Of the stage.
        device: Where the stage computes.
    """

    def __init__(
        self,
        supernet: Supernet,
        job: StageContext,
        method: SearchMethod,
        scoring: Scoring | None,
        stage_trainer: StageTrainer,
        device: torch.device,
    ) -> None:
        self.supernet = supernet
        self._job, self._method, self._scoring, self._trainer, self._device = (
            job,
            method,
            scoring,
            stage_trainer,
            device,
        )
        self._scorer = None if scoring is None else self._scorer_of(supernet)

    def score(
        self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None = None
    ) -> list[Score]:
        return self.scorer(candidates, elimination)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        return self.scorer.read()

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        """Train a copy, or return what it came to; the weights are written before the record that says so."""
        folder = self._trainer.folder
        for record in folder.read_lines(TRIALS):
            if record["trial"] == name:
                return Score(record["accuracy"], record["loss"])
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
        on_main_process(lambda: _forget_others(adopted))

    @property
    def scorer(self) -> Scorer:
        """Scores the supernet."""
        assert self._scorer is not None, "a selector that scores names its scoring"
        return self._scorer

    def _scorer_of(self, supernet: Supernet) -> Scorer:
        assert self._scoring is not None, "a selector that trains on trial names its scoring"
        return scorer_of(supernet, self._job, self._method, self._scoring, self._device)

    def _train(self, copy: Supernet, name: str, training: TrialTraining) -> None:
        job, held_out = self._job, self._scoring.held_out_share if self._scoring else 0.0
        tuning = self._method.for_tuning(
            training.epochs, training.learning_rate, training.schedule, training.train_alpha
        )
        self._trainer.progress.say(f"training {name}")
        self._trainer.train(
            SearchModule(copy, tuning, job.data.classes, (job.seed, "selection", name)),
            lambda device: search_loaders(job.data, tuning, device, job.seed, f"selection {name}", held_out),
            training.epochs,
        )
        copy.to(self._device)

    def _file(self, name: str) -> Path:
        return self._trainer.folder.path / SCRATCH / "trials" / f"{name}.pt"


def _forget_others(adopted: Path) -> None:
    for file in adopted.parent.iterdir():
        if file != adopted:
            file.unlink()


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
    capture = Capture() if name == "compile" else capture_for(name, device, supernet)
    return Scorer(supernet, batches, scoring, calibration, (job.seed, "selection"), capture)
