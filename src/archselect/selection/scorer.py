"""The accuracy of a supernet under other mixture weights."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.capture import Capture, NoCapture
from archselect.distributed.process_group import place
from archselect.networks.mixture import Mixture, MixtureWeights
from archselect.networks.preserved import preserved
from archselect.networks.supernet import Supernet
from archselect.randomness import derived_seed, seed_generators
from archselect.selection.race import Race
from archselect.selection.score import Score
from archselect.selection.scoring import Racing, Scoring
from archselect.selection.tallies import Tallies


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
        with preserved(self.supernet):
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
        tallies, turns = Tallies(len(candidates)), place()
        checks = self.scoring.checks() if isinstance(self.scoring, Racing) else iter(())
        check = next(checks, None) if race else None
        for number, (images, labels) in enumerate(self.read(), start=1):
            if (number - 1) % turns.world_size == turns.rank:
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
