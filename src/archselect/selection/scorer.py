"""The accuracy of a supernet under other mixture weights."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.capture import Capture, NoCapture
from archselect.checks import check_choice, check_positive, check_share
from archselect.networks.mixture import MixtureWeights
from archselect.networks.supernet import Supernet
from archselect.randomness import derived_seed

BatchNorm = Literal["batch", "running", "recalibrated"]


@dataclass(frozen=True)
class Score:
    """Accuracy in [0, 1] and mean cross-entropy over the scoring images."""

    accuracy: float
    loss: float

    def to_record(self) -> dict[str, float]:
        """Return JSON-able data."""
        return {"accuracy": self.accuracy, "loss": self.loss}


@dataclass(frozen=True)
class Scoring:
    """On what, and in which mode, supernets are scored.

    Attributes:
        batch_norm: `batch`: statistics of each scoring batch (the official code); `running`: the statistics gathered
            in training; `recalibrated`: running statistics gathered anew for each candidate on batches of the weight
            half.
        recalibration_batches: How many batches `recalibrated` reads.
        batch_size: Images per scoring batch; null: that of the search.
        held_out_share: This share of the `alpha` half is kept from tuning and scored on; 0: the whole half does both
            (the official code).
        batches: Score on the first so many batches; null: on all.
    """

    batch_norm: BatchNorm = "batch"
    recalibration_batches: int = 20
    batch_size: int | None = None
    held_out_share: float = 0.0
    batches: int | None = None

    def __post_init__(self) -> None:
        check_choice("selection.scoring.batch_norm", self.batch_norm, get_args(BatchNorm))
        check_positive("selection.scoring.recalibration_batches", self.recalibration_batches)
        check_share("selection.scoring.held_out_share", self.held_out_share, zero=True)
        for option in ("batch_size", "batches"):
            if getattr(self, option) is not None:
                check_positive(f"selection.scoring.{option}", getattr(self, option))


class Scorer:
    """Scores a supernet under given mixture weights and leaves no trace in it.

    Args:
        supernet: The supernet.
        batches: The scoring images, the same in every pass: pairs of images `(B, 3, H, W)` and labels `(B,)`.
        scoring: See `Scoring`.
        calibration: Batches of the weight half, read by `recalibrated`.
        purpose: What the randomness inside the network is derived from: every pass starts from the same random state.
        capture: Evaluates the batches of a pass.
    """

    def __init__(
        self,
        supernet: Supernet,
        batches: Iterable[tuple[Tensor, Tensor]],
        scoring: Scoring,
        calibration: Iterable[tuple[Tensor, Tensor]],
        purpose: tuple[int | str, ...],
        capture: Capture | None = None,
    ) -> None:
        self.supernet = supernet
        self.capture = capture or NoCapture()
        self.batches = batches
        self.scoring = scoring
        self.calibration = calibration
        self.purpose = purpose

    @torch.no_grad()
    def __call__(self, candidates: Sequence[MixtureWeights]) -> list[Score]:
        """Return the score of each candidate; the host waits for the device once, at the end."""
        with _untouched(self.supernet):
            totals = torch.stack([self._total(weights) for weights in candidates])
        images = totals[0, 2]
        scores = [Score(accuracy, loss) for accuracy, loss in (totals[:, :2] / images).tolist()]
        if any(math.isnan(score.loss) for score in scores):
            raise ValueError(
                "The supernet's loss is not a number, so its operations cannot be compared: its training diverged. "
                "Start again with a lower learning rate (search.weight_optimizer.lr, selection.tuning.learning_rate)."
            )
        return scores

    def _total(self, weights: MixtureWeights) -> Tensor:
        """Return (correct, summed cross-entropy, images) as a float64 tensor on the device."""
        torch.manual_seed(derived_seed(*self.purpose, "scoring"))
        if self.scoring.batch_norm == "recalibrated":
            self._recalibrate(weights)
        self.supernet.train(self.scoring.batch_norm == "batch")
        total: Tensor | None = None

        def score(images: Tensor, labels: Tensor) -> Tensor:
            logits = self.supernet(images, weights).float()
            loss = F.cross_entropy(logits, labels, reduction="sum")
            correct = (logits.argmax(dim=1) == labels).sum()
            return torch.stack([correct.double(), loss.double(), torch.full_like(loss, len(labels)).double()])

        for images, labels in islice(self.batches, self.scoring.batches):
            part = self.capture("score", score, (images, labels))
            total = part.clone() if total is None else total + part
        self.capture.forget()
        if total is None:
            raise ValueError("There is no image to score on: give more training images or a larger held-out share.")
        return total

    def _recalibrate(self, weights: MixtureWeights) -> None:
        """Gather the running statistics anew, as the mean over the batches."""
        self.supernet.train()
        norms = [module for module in self.supernet.modules() if isinstance(module, nn.BatchNorm2d)]
        for index, (images, _) in enumerate(islice(self.calibration, self.scoring.recalibration_batches)):
            for norm in norms:
                norm.momentum = 1 / (index + 1)
            self.supernet(images, weights)


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """Put modes, statistics and the random state of `network` back as they were."""
    modes = [(module, module.training) for module in network.modules()]
    momenta = [(module, module.momentum) for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    devices = {buffer.device.index for buffer, _ in buffers if buffer.device.type == "cuda"}
    with torch.random.fork_rng(devices=[index for index in devices if index is not None]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for norm, momentum in momenta:
                norm.momentum = momentum
            for buffer, before in buffers:
                buffer.copy_(before)
