"""How good a supernet is, under some mixture weights."""

from dataclasses import dataclass, field
from statistics import stdev


@dataclass(frozen=True)
class Score:
    """How good a supernet is.

    Attributes:
        accuracy: In [0, 1], over the images that it was scored on.
        loss: Mean cross-entropy over these images.
        beaten_after: After so many images a race was lost; None: it was not.
        per_batch: Accuracy and loss of each batch.
    """

    accuracy: float
    loss: float
    beaten_after: int | None = None
    per_batch: tuple[tuple[float, float], ...] = field(default=(), compare=False, repr=False)

    def to_record(self) -> dict[str, float]:
        """Return JSON-able data."""
        beaten = {} if self.beaten_after is None else {"beaten_after": self.beaten_after}
        return {"accuracy": self.accuracy, "loss": self.loss, **beaten}


def standard_error_of_difference(score: Score, other: Score, column: int) -> float | None:
    """Return the standard error of the difference of two scores, paired by batches; None of fewer than two batches.

    Args:
        score: Of one candidate.
        other: Of another, on the same batches; one of them may have been beaten and have fewer.
        column: 0: accuracy; 1: loss.
    """
    pairs = zip(score.per_batch, other.per_batch, strict=False)
    differences = [one[column] - another[column] for one, another in pairs]
    return stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None
