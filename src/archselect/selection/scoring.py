"""On what, and how, supernets are scored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from archselect.checks import check_choice, check_number, check_positive, check_share

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
        batches: Score on so many batches, the same random sample in every pass; null: on all.
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
