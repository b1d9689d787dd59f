"""How good a supernet is under some mixture weights, on which images, and which candidates are scored to the end.

The candidates of a round see the same batches, so their scores are compared batch by batch: after m batches, a
candidate is eliminated when the mean of its m differences from the leader is so far behind that, by Student's t for
paired samples, the leader is the better one with the stated confidence (Hoeffding races, Maron & Moore, NIPS 1994, with
the t distribution in place of Hoeffding's bound, as in F-Race, Birattari et al., GECCO 2002).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import stdev
from typing import Annotated, Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

from archselect.results.metric import Mode
from archselect.utils.validation import (
    FRACTION,
    NON_NEGATIVE_FLOAT,
    POSITIVE_INT,
    Constraint,
    FractionOrZero,
    PositiveInt,
    check_fields,
)

Criterion = Literal["metric", "loss"]
"""What is looked at: the metric of the task, such as the accuracy, or the loss."""


@dataclass(frozen=True)
class Score:
    """How good a supernet is on the images that it was scored on; `per_batch` holds (metric, loss) of each batch."""

    metric: float  # of the task, such as the accuracy in [0, 1]
    loss: float  # the mean over the images
    eliminated_after: int | None = None  # images; None: it was not eliminated
    name: str = "accuracy"  # of the metric
    mode: Mode = "max"  # whether more of the metric is better
    per_batch: tuple[tuple[float, float], ...] = field(default=(), compare=False, repr=False)

    def to_record(self) -> dict[str, float]:
        """Return JSON-able data."""
        eliminated = {} if self.eliminated_after is None else {"beaten_after": self.eliminated_after}
        return {self.name: self.metric, "loss": self.loss, **eliminated}


def perturbation_loss(score: Score, criterion: Criterion) -> float:
    """Return how bad a score is: larger is worse."""
    if criterion == "loss":
        return score.loss
    return -score.metric if score.mode == "max" else score.metric


def standard_error_of_difference(score: Score, other: Score, column: int) -> float | None:
    """Return the standard error of the difference of two scores, paired by batches; None of fewer than two batches.

    One of them may have been eliminated and have fewer batches. `column` is 0 for the metric, 1 for the loss.
    """
    pairs = zip(score.per_batch, other.per_batch, strict=False)
    differences = [one[column] - another[column] for one, another in pairs]
    return stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None


@dataclass(frozen=True)
class SuccessiveElimination:
    """What the candidates of a round compete for.

    Attributes:
        criterion: What is compared.
        mode: `max`: the candidate with the largest `perturbation_loss` wins, that is the worst metric or the highest
            loss; `min`: the one with the smallest.
        runners: How many of the candidates, from the first on, compete; the others are scored beside them.
    """

    criterion: Criterion
    mode: Literal["max", "min"]
    runners: int

    def lead(self, scores: Tensor, metric_mode: Mode = "max") -> Tensor:
        """Return the scores `(..., 2)`, metric and loss, as numbers `(...)` that are larger for the better runner."""
        worse = -scores[..., 0] if metric_mode == "max" else scores[..., 0]
        loss = worse if self.criterion == "metric" else scores[..., 1]
        return loss if self.mode == "max" else -loss


def eliminated(leads: Tensor, confidence: float) -> list[bool]:
    """Return for each runner whether the leading one is better.

    Args:
        leads: `(batches, runners)`, at least two batches; larger is better.
        confidence: With which one runner is said to be better than another, between 0.5 and 1.
    """
    batches = len(leads)
    leader = int(leads.mean(dim=0).argmax())
    behind = leads[:, leader : leader + 1] - leads
    standard_error = behind.std(dim=0) / batches**0.5
    critical = float(stdtrit(batches - 1, confidence))
    return torch.logical_and(behind.mean(dim=0) > 0, behind.mean(dim=0) > critical * standard_error).tolist()


@dataclass(frozen=True)
class Scoring:
    """On what, and in which mode, supernets are scored: see `configs/selection/scoring`."""

    batch_norm: Literal["batch", "running", "recalibrated"] = "batch"
    recalibration_batches: PositiveInt = 20
    batch_size: PositiveInt | None = None
    held_out_share: FractionOrZero = 0.0
    batches: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_fields(self, "selection.scoring")


ABOVE_CHANCE = Constraint("lie between 0.5 and 1", lambda value: FRACTION.holds(value) and value > 0.5)
ABOVE_ONE = Constraint("be a whole number above 1, for a spread", lambda value: POSITIVE_INT.holds(value) and value > 1)
GROWING = Constraint("be above 1", lambda value: NON_NEGATIVE_FLOAT.holds(value) and value > 1)


@dataclass(frozen=True)
class Racing(Scoring):
    """Scoring in which a candidate that cannot win any more is not scored any further: see `SuccessiveElimination`."""

    confidence: Annotated[float, ABOVE_CHANCE] = 0.98
    first_check: Annotated[int, ABOVE_ONE] = 8
    growth: Annotated[float, GROWING] = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_norm == "recalibrated":
            raise ValueError(
                "In a race all candidates are scored side by side, but selection.scoring.batch_norm=recalibrated "
                "prepares the supernet for one candidate at a time. Use batch or running, or selection/scoring=full."
            )

    def checks(self) -> Iterator[int]:
        """Yield after how many batches the candidates are compared."""
        batches = self.first_check
        while True:
            yield batches
            batches = max(batches + 1, round(batches * self.growth))
