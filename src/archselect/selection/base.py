"""What a selection method is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

from torch import Tensor

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.decisions import Decision
from archselect.selection.scoring import Racing, Score, Scoring, SuccessiveElimination
from archselect.utils.validation import FLAG, NON_NEGATIVE_FLOAT, NON_NEGATIVE_INT, POSITIVE_INT, one_of

Schedule = Literal["constant", "cosine"]


class DecisionStep(NamedTuple):
    """A decision point.

    Attributes:
        number: Counted from 0.
        of: How many there are.
    """

    number: int
    of: int

    @property
    def left(self) -> int:
        """How many points are left, this one included."""
        return self.of - self.number


ONLY = DecisionStep(0, 1)
"""The point at which a selector without tuning decides everything."""


class SupernetEvaluator(Protocol):
    """What a selector may try on the supernet. Nothing that is tried changes it."""

    def score(self, candidates: Sequence[MixtureWeights], race: SuccessiveElimination | None = None) -> list[Score]:
        """Return one score per candidate; `race` says what they compete for, so that losers need not be scored on."""
        ...

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the scoring batches: images `(B, 3, H, W)` and labels `(B,)`, on the supernet's device."""
        ...

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: "TrialTraining") -> Score:
        """Train a copy of the supernet under these decisions and return its score; what was trained once is kept.

        A decision that names the trial lets the supernet go on from there.

        Args:
            name: `GROUP/MEMBER`, unlike that of any other; of the trials of a group at most one is gone on from.
            decisions: What is decided in the copy.
            training: How it is trained.
        """
        ...


@dataclass(frozen=True)
class Tuning:
    """How the supernet is trained between two decision points, so that it recovers from the last decision.

    Attributes:
        epochs_between: Epochs between two decision points; 0: no tuning at all.
        epochs: All epochs of the tuning; null: one more than the last point needs. When fewer, the last points move to
            the last epoch.
        learning_rate: Of the weights, at its start (official: a tenth of the search's).
        schedule: `constant` (the official code builds a cosine and never steps it) or `cosine`.
        train_alpha: Whether the `alpha` of undecided edges trains on.
        architecture_optimizer_state: Whether the optimizer of `alpha` goes on with what it remembers of the `search`,
            Adam's moments and its count of steps, or starts `fresh`. The official code keeps the optimizer object, and
            makes a new one for the weights, whose momentum starts at 0 (sota/cnn/projection.py, `reset_optimizer`).
    """

    epochs_between: int = 5
    epochs: int | None = None
    learning_rate: float = 0.0025
    schedule: Schedule = "constant"
    train_alpha: bool = True
    architecture_optimizer_state: Literal["search", "fresh"] = "search"

    def __post_init__(self) -> None:
        NON_NEGATIVE_INT.check("selection.tuning.epochs_between", self.epochs_between)
        if self.epochs is not None:
            POSITIVE_INT.check("selection.tuning.epochs", self.epochs)
        NON_NEGATIVE_FLOAT.check("selection.tuning.learning_rate", self.learning_rate)
        one_of(get_args(Schedule)).check("selection.tuning.schedule", self.schedule)
        FLAG.check("selection.tuning.train_alpha", self.train_alpha)
        states = ("search", "fresh")
        one_of(states).check("selection.tuning.architecture_optimizer_state", self.architecture_optimizer_state)

    def total_epochs(self, points: int) -> int:
        """Return the epochs of the whole tuning: `epochs`, or with one epoch after the last point."""
        if self.epochs_between == 0:
            return 0
        return self.epochs or (points - 1) * self.epochs_between + 1

    def epoch_of(self, point: int, points: int) -> int:
        """Return the epoch before which decision point `point` is made."""
        return max(0, min(point * self.epochs_between, self.total_epochs(points) - 1))


@dataclass(frozen=True)
class TrialTraining:
    """How a copy of the supernet is trained on trial; both of its optimizers start afresh.

    Attributes:
        epochs: Of the training.
        learning_rate: Of the weights, at its start.
        schedule: As in `Tuning`.
        train_alpha: Whether the `alpha` of undecided edges trains on.
    """

    epochs: int = 5
    learning_rate: float = 0.0025
    schedule: Schedule = "constant"
    train_alpha: bool = True

    def __post_init__(self) -> None:
        POSITIVE_INT.check("selection.training.epochs", self.epochs)
        NON_NEGATIVE_FLOAT.check("selection.training.learning_rate", self.learning_rate)
        one_of(get_args(Schedule)).check("selection.training.schedule", self.schedule)
        FLAG.check("selection.training.train_alpha", self.train_alpha)


def check_candidates(name: str, cells: Mapping[str, CellSpace]) -> None:
    """Raise a ValueError where a selector that compares candidates finds no edge with two of them."""
    if all(len(candidates) == 1 for space in cells.values() for candidates in space.operations):
        raise ValueError(
            f"selection={name} compares the candidate operations of an edge, but every edge of this search space has "
            "one only. Give at least one edge two candidates."
        )


def check_scoring_node(scoring: object) -> None:
    """Raise a ValueError unless `scoring` holds options: the way to score is named with a slash."""
    if not isinstance(scoring, Scoring):
        raise ValueError(
            f"selection.scoring must be a node of options; got {scoring!r}. To choose among the ways to score write "
            "selection/scoring=full or selection/scoring=racing, with a slash."
        )


def check_unraced(name: str, scoring: object) -> None:
    """Raise a ValueError unless `scoring` scores every candidate to the end."""
    check_scoring_node(scoring)
    if isinstance(scoring, Racing):
        raise ValueError(
            f"selection.scoring must not be a race: selection={name} needs the whole score of every candidate, also of "
            "those that cannot win. Use selection/scoring=full."
        )


def check_no_strengths(name: str, report_strengths: bool) -> None:
    """Raise a ValueError where the strengths of operations that are drawn at random are to be shown."""
    FLAG.check("selection.report_strengths", report_strengths)
    if report_strengths:
        raise ValueError(
            "selection.report_strengths=true shows what a selection takes the strength of an operation to be, but "
            f"selection={name} draws at random. Leave it out."
        )


class Selector(Protocol):
    """Reads an architecture off a supernet.

    A selector is a pure function of the supernet (its weights and the decisions made so far) and of the seed. It keeps
    no state, so a selection that was cut off goes on from the supernet's last checkpoint and ends with the same
    architecture.

    Attributes:
        name: Shown in folders and reports.
        tuning: Training between two decision points; None: all decisions are made at one point.
        scoring: On what the supernet is scored; None: the selector does not score.
        report_strengths: Whether the strengths that it gives to the operations are shown.
    """

    @property
    def name(self) -> str: ...

    @property
    def tuning(self) -> Tuning | None: ...

    @property
    def scoring(self) -> Scoring | None: ...

    @property
    def report_strengths(self) -> bool: ...

    @property
    def needs_candidates(self) -> bool:
        """Whether it compares candidates, so that there must be an edge with two of them."""
        ...

    @property
    def needs_trained_alpha(self) -> bool:
        """Whether it reads the size of `alpha`, which must have been trained then."""
        ...

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Raise a ValueError if there is nothing to select or the options do not fit these cells."""
        ...

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """Return the number of decision points, where so much has been decided by the search; None: nothing."""
        ...

    def decide(
        self, point: DecisionStep, supernet: Supernet, trials: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """Yield the decisions of one point. Each is applied to `supernet` before the next is asked for.

        A point that was cut off is decided again: what `supernet.decisions` already holds of it is not decided twice.
        """
        ...
