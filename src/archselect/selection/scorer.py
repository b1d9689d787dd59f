"""How good a supernet is under other mixture weights: what selections by scores ask for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor, nn

from archselect.distributed.process_group import all_reduce, place
from archselect.distributed.rng import derived_seed, seed_generators
from archselect.models.restored_state import restored_state
from archselect.models.supernet.mixture import Mixture, MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.scoring import Racing, Score, Scoring, SuccessiveElimination, eliminated
from archselect.tasks import Task
from archselect.training.cuda_graphs import Capture


class ScoreAccumulator:
    """What was counted of each candidate, batch by batch; it stays on the device until an elimination or the end asks.

    Attributes:
        running: Indices of the candidates that are still scored.
    """

    def __init__(self, candidates: int, task: Task) -> None:
        self.task = task
        self.running = list(range(candidates))
        self._candidates = candidates
        self._counted: list[Tensor] = []  # of each batch `(candidates, 2)`
        self._images: list[int] = []
        self._gathered = 0
        self._eliminated_after: dict[int, int] = {}  # batches

    def add(self, labels: Tensor, counted: Tensor | None) -> None:
        """Add (summed measures, summed loss) of the running candidates on one batch; None: another process does."""
        nothing = torch.zeros(2, dtype=torch.float64, device=labels.device)
        rows = {} if counted is None else dict(zip(self.running, counted, strict=True))
        self._counted.append(torch.stack([rows.get(index, nothing) for index in range(self._candidates)]))
        self._images.append(len(labels))

    def _gather(self) -> None:
        """Take over what the other processes have counted since the last time; each batch is counted by one of them."""
        new = self._counted[self._gathered :]
        if place().world_size > 1 and new:
            self._counted[self._gathered :] = all_reduce(torch.stack(new)).unbind()
        self._gathered = len(self._counted)

    def runners(self, elimination: SuccessiveElimination) -> list[int]:
        """Return the indices of the candidates that still compete."""
        return [index for index in self.running if index < elimination.runners]

    def eliminate(self, elimination: SuccessiveElimination, confidence: float) -> None:
        """Stop scoring the candidates that cannot win; waits for the device."""
        self._gather()
        runners = self.runners(elimination)
        scores = torch.stack(self._counted)[:, runners].cpu()
        per_image = scores / torch.tensor(self._images, dtype=scores.dtype).view(-1, 1, 1)
        for index, out in zip(
            runners, eliminated(elimination.lead(per_image, self.task.mode), confidence), strict=True
        ):
            if out:
                self.running.remove(index)
                self._eliminated_after[index] = len(self._images)

    def scores(self) -> list[Score]:
        """Return the score of each candidate; waits for the device."""
        if not self._images:
            raise ValueError("There is no image to score on: give more training images or a larger held-out share.")
        self._gather()
        counted = torch.stack(self._counted).tolist()
        scores = []
        for index in range(self._candidates):
            batches = self._eliminated_after.get(index)
            of_batches, images = [batch[index] for batch in counted[:batches]], self._images[:batches]
            metric, loss = (math.fsum(column) / sum(images) for column in zip(*of_batches, strict=True))
            per_batch = tuple((c / n, total / n) for (c, total), n in zip(of_batches, images, strict=True))
            eliminated_after = sum(images) if batches else None
            scores.append(Score(metric, loss, eliminated_after, self.task.metric, self.task.mode, per_batch))
        return scores


@dataclass(eq=False)
class Scorer:
    """Scores a supernet under given mixture weights and leaves no trace in it.

    Attributes:
        batches: The scoring images, the same in every pass: pairs of images `(B, 3, H, W)` and labels `(B,)`.
        task: What is measured and lost.
        scoring: In which mode, and on how many of the batches.
        calibration: Batches of the weight half, read by `recalibrated`.
        rng_key: What the randomness inside the network is derived from: every pass starts from the same random state.
        capture: Evaluates the batches of a pass.
    """

    supernet: Supernet
    task: Task
    batches: Iterable[tuple[Tensor, Tensor]]
    scoring: Scoring
    calibration: Iterable[tuple[Tensor, Tensor]]
    rng_key: tuple[int | str, ...]
    capture: Capture = field(default_factory=Capture)

    @torch.no_grad()
    def __call__(
        self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None = None
    ) -> list[Score]:
        """Return the score of each candidate.

        The candidates of a round are scored side by side: each batch is read once, and what they have in common in
        front of the first cell that they differ in is evaluated once. The host waits for the device once, at the end,
        and at each comparison where candidates are eliminated. Several processes take turns with whole batches, so the
        scores are those of one; each gathers the statistics of `recalibrated` itself. `elimination` is looked at where
        the scoring is a `Racing`.
        """
        alone = self.scoring.batch_norm == "recalibrated"
        rounds = [[weights] for weights in candidates] if alone else [candidates]
        with restored_state(self.supernet):
            scores = [score for together in rounds for score in self._round(together, elimination)]
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

    def _round(self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None) -> list[Score]:
        """Score candidates side by side."""
        if self.scoring.batch_norm == "recalibrated":
            seed_generators(derived_seed(*self.rng_key, "calibration"))
            self._recalibrate(candidates[0])
        self.supernet.train(self.scoring.batch_norm == "batch")
        cells = self.supernet.cell_spaces
        differing = [name for name in cells if any(c[name] is not candidates[0][name] for c in candidates)]
        shared_layers = self.supernet.layers_before(differing)
        mixtures = [self.supernet.mixtures(weights) for weights in candidates]
        scores, turns = ScoreAccumulator(len(candidates), self.task), place()
        race = self.scoring if elimination and isinstance(self.scoring, Racing) else None
        checks = race.checks() if race else iter(())
        check = next(checks, None)
        for number, (images, labels) in enumerate(self.read(), start=1):
            counted = None
            if (number - 1) % turns.world_size == turns.rank:
                running = [mixtures[index] for index in scores.running]
                counted = self._batch(number, images, labels, running, shared_layers)
            scores.add(labels, counted)
            if race and elimination and number == check:
                scores.eliminate(elimination, race.confidence)
                check = next(checks)
                if len(scores.runners(elimination)) == 1:
                    break
        self.capture.forget()
        return scores.scores()

    def _batch(
        self, number: int, images: Tensor, labels: Tensor, candidates: Sequence[Mapping[str, Mixture]], shared: int
    ) -> Tensor:
        """Return (summed measures, summed loss) of every candidate, `(candidates, 2)` in float64 on the device."""

        def score(images: Tensor, labels: Tensor) -> Tensor:
            seed(0)
            partial = self.supernet.forward_prefix(images, candidates[0], shared)
            results = []
            for mixtures in candidates:
                seed(1)
                outputs = self.supernet.forward_suffix(partial, mixtures).float()
                measured = self.task.measures(outputs, labels).sum(dtype=torch.float64)
                results.append(torch.stack([measured, self.task.loss(outputs, labels, "sum").double()]))
            return torch.stack(results)

        def seed(part: int) -> None:
            """Let the network's noise be the same for all candidates, and another for every batch."""
            if self.supernet.draws:
                seed_generators(derived_seed(*self.rng_key, "scoring", number, part))

        # Replayed, the random numbers of a graph would go on from candidate to candidate.
        capture = Capture() if self.supernet.draws else self.capture
        return capture(("score", len(candidates)), score, (images, labels))

    def _recalibrate(self, weights: MixtureWeights) -> None:
        """Gather the running statistics anew, as the mean over the batches."""
        self.supernet.train()
        norms = [module for module in self.supernet.modules() if isinstance(module, nn.BatchNorm2d)]
        for index, (images, _) in enumerate(islice(self.calibration, self.scoring.recalibration_batches)):
            for norm in norms:
                norm.momentum = 1 / (index + 1)
            self.supernet(images, weights)
