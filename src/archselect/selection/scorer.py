"""The accuracy of a supernet under other mixture weights."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import ranks
from archselect.capture import Capture, NoCapture
from archselect.checks import check_choice, check_number, check_positive, check_share
from archselect.networks.mixture import Mixture, MixtureWeights
from archselect.networks.preserved import preserved
from archselect.networks.supernet import Supernet
from archselect.randomness import derived_seed, seed_generators
from archselect.selection.race import Race
from archselect.selection.score import Score
from archselect.selection.tallies import Tallies

BatchNorm = Literal["batch", "running", "recalibrated"]


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


@dataclass(frozen=True)
class Racing(Scoring):
    """Scoring in which a candidate that cannot win any more is not scored any further: see `Race`.

    Attributes:
        confidence: With which a candidate is said to be worse than the leading one.
        first_check: After so many batches the candidates are compared for the first time.
        growth: From one comparison to the next the number of batches grows by this factor.
    """

    confidence: float = 0.98
    first_check: int = 8
    growth: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_norm == "recalibrated":
            raise ValueError(
                "In a race all candidates are scored side by side, but selection.scoring.batch_norm=recalibrated "
                "prepares the supernet for one candidate at a time. Use batch or running, or selection/scoring=full."
            )
        check_share("selection.scoring.confidence", self.confidence)
        if self.confidence <= 0.5:
            raise ValueError(f"selection.scoring.confidence must lie between 0.5 and 1; got {self.confidence}.")
        if not isinstance(self.first_check, int) or self.first_check < 2:
            raise ValueError(
                f"selection.scoring.first_check must be a whole number above 1, for a spread; got {self.first_check!r}."
            )
        check_number("selection.scoring.growth", self.growth)
        if self.growth <= 1:
            raise ValueError(f"selection.scoring.growth must be above 1; got {self.growth}.")

    def checks(self) -> Iterator[int]:
        """Yield after how many batches the candidates are compared."""
        batches = self.first_check
        while True:
            yield batches
            batches = max(batches + 1, round(batches * self.growth))


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
    def __call__(self, candidates: Sequence[MixtureWeights], race: Race | None = None) -> list[Score]:
        """Return the score of each candidate.

        The candidates of a round are scored side by side: each batch is read once, and what they have in common in
        front of the first cell that they differ in is evaluated once. The host waits for the device once, at the end,
        and in a race at each comparison. Several processes take turns with whole batches, so the scores are those of
        one; each gathers the statistics of `recalibrated` itself.

        Args:
            candidates: Mixture weights.
            race: What the candidates compete for; looked at where the scoring is a `Racing`.
        """
        with preserved(self.supernet), ranks.apart():
            if self.scoring.batch_norm == "recalibrated":
                scores = [score for weights in candidates for score in self._round([weights], None)]
            else:
                scores = self._round(candidates, race if isinstance(self.scoring, Racing) else None)
        if not all(math.isfinite(score.loss) for score in scores):
            raise ValueError(
                "The supernet's loss is not a finite number, so its operations cannot be compared: its training "
                "diverged. Start again with a lower learning rate (search.weight_optimizer.lr, "
                "selection.tuning.learning_rate)."
            )
        return scores

    def read(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the batches of a pass."""
        return islice(self.batches, self.scoring.batches)

    def _round(self, candidates: Sequence[MixtureWeights], race: Race | None) -> list[Score]:
        """Score candidates side by side."""
        if self.scoring.batch_norm == "recalibrated":
            seed_generators(derived_seed(*self.purpose, "calibration"))
            self._recalibrate(candidates[0])
        self.supernet.train(self.scoring.batch_norm == "batch")
        differing = [
            name for name in self.supernet.cell_spaces if any(c[name] is not candidates[0][name] for c in candidates)
        ]
        shared_layers = self.supernet.layers_before(differing)
        mixtures = [self.supernet.mixtures(weights) for weights in candidates]
        tallies = Tallies(len(candidates))
        checks = self.scoring.checks() if isinstance(self.scoring, Racing) else iter(())
        check = next(checks, None) if race else None
        for number, (images, labels) in enumerate(self.read(), start=1):
            if (number - 1) % ranks.count() == ranks.rank():
                running = [mixtures[index] for index in tallies.running]
                tallies.add(self._batch(running, shared_layers, images, labels, number), labels)
            else:
                tallies.leave_out(labels)
            if race and number == check:
                assert isinstance(self.scoring, Racing)
                tallies.drop_beaten(race, self.scoring.confidence)
                check = next(checks)
                if len(tallies.runners(race)) == 1:
                    break
        self.capture.forget()
        return tallies.scores()

    def _batch(
        self,
        candidates: Sequence[Mapping[str, Mixture]],
        shared_layers: int,
        images: Tensor,
        labels: Tensor,
        number: int,
    ) -> Tensor:
        """Return (correct, summed cross-entropy) of every candidate, `(candidates, 2)` in float64 on the device."""

        def score(images: Tensor, labels: Tensor) -> Tensor:
            seed(0)
            begun = self.supernet.begin(images, candidates[0], shared_layers)
            results = []
            for mixtures in candidates:
                seed(1)
                logits = self.supernet.finish(begun, mixtures).float()
                loss = F.cross_entropy(logits, labels, reduction="sum")
                correct = (logits.argmax(dim=1) == labels).sum()
                results.append(torch.stack([correct.double(), loss.double()]))
            return torch.stack(results)

        def seed(part: int) -> None:
            """Let the network's noise be the same for all candidates, and another for every batch."""
            if self.noisy:
                seed_generators(derived_seed(*self.purpose, "scoring", number, part))

        # Replayed, the random numbers of a graph would go on from candidate to candidate.
        capture = NoCapture() if self.noisy else self.capture
        return cast(Tensor, capture(("score", len(candidates)), score, (images, labels)))

    @property
    def noisy(self) -> bool:
        """Whether the network draws random numbers."""
        spaces = self.supernet.cell_spaces.values()
        return any("noise" in names for space in spaces for names in space.operations)

    def _recalibrate(self, weights: MixtureWeights) -> None:
        """Gather the running statistics anew, as the mean over the batches."""
        self.supernet.train()
        norms = [module for module in self.supernet.modules() if isinstance(module, nn.BatchNorm2d)]
        for index, (images, _) in enumerate(islice(self.calibration, self.scoring.recalibration_batches)):
            for norm in norms:
                norm.momentum = 1 / (index + 1)
            self.supernet(images, weights)
