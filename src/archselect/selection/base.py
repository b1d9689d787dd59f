"""What a selection method is: a list of steps, and a function that makes the decisions of a step.

One of your own is a subclass of `Selector` and a file in `configs/selection`; the shortest are `magnitude` and
`random_choice`, and the README has one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.decisions import Decision
from archselect.selection.schedule import DecisionStep, LearningRateSchedule, Tuning
from archselect.selection.scoring import Racing, Score, Scoring, SuccessiveElimination
from archselect.utils.validation import NonNegativeFloat, PositiveInt, check_fields


@dataclass(frozen=True)
class TrialTraining:
    """How a copy of the supernet is trained on trial; both of its optimizers start afresh.

    Attributes:
        epochs: Of the training.
        learning_rate: Of the weights, at its start.
        schedule: As in `Tuning`.
        train_alpha: Whether the `alpha` of undecided edges trains on.
    """

    epochs: PositiveInt = 5
    learning_rate: NonNegativeFloat = 0.0025
    schedule: LearningRateSchedule = "constant"
    train_alpha: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "selection.training")


class SupernetEvaluator(Protocol):
    """What a selector may try on the supernet. Nothing that is tried changes it."""

    def score(
        self, candidates: Sequence[MixtureWeights], elimination: SuccessiveElimination | None = None
    ) -> list[Score]:
        """Return one score per candidate; `elimination` says which of them need not be scored to the end."""
        ...

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the scoring batches: images `(B, 3, H, W)` and labels `(B,)`, on the supernet's device."""
        ...

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        """Train a copy of the supernet under these decisions and return its score; what was trained once is kept.

        A decision that names the trial lets the supernet go on from there.

        Args:
            name: `GROUP/MEMBER`, unlike that of any other; of the trials of a group at most one is gone on from.
            decisions: What is decided in the copy.
            training: How it is trained.
        """
        ...


class Cost(NamedTuple):
    """What a selection takes, as far as can be foreseen.

    Attributes:
        epochs: Epochs that supernets are trained for, all together.
        candidates: Operations that the supernet is scored without.
    """

    epochs: int
    candidates: int = 0


@dataclass(frozen=True)
class Selector(ABC):
    """Reads an architecture off a supernet: `for step in steps: decide, apply, tune`.

    A selector is a pure function of the supernet (its weights and the decisions made so far) and of the seed. It keeps
    no state, so a selection that was cut off goes on from the supernet's last checkpoint and ends with the same
    architecture. The last three attributes are options where a subclass declares them as fields of its own.

    Attributes:
        name: Shown in folders and reports.
        report_strengths: Whether the strengths that it gives to the operations are shown.
        tuning: Training between two steps; None: there is none.
        scoring: On what the supernet is scored; None: it is not.
    """

    name: str
    report_strengths: bool = field(default=False, init=False)
    tuning: Tuning | None = field(default=None, init=False)
    scoring: Scoring | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_fields(self, "selection")

    @property
    def needs_candidates(self) -> bool:
        """Whether it compares candidates, so that there must be an edge with two of them."""
        return True

    @property
    def needs_trained_alpha(self) -> bool:
        """Whether it reads the size of `alpha`, which must have been trained then."""
        return False

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Raise a ValueError if there is nothing to select or the options do not fit these cells."""
        if self.needs_candidates and choices(cells) == 0:
            raise ValueError(
                f"selection={self.name} compares the candidate operations of an edge, but every edge of this search "
                "space has one only. Give at least one edge two candidates."
            )

    def steps(
        self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None
    ) -> list[DecisionStep]:
        """Return the steps of the selection, where so much has been decided by the search; None: nothing."""
        return [DecisionStep(0, "all", tuple(cells))]

    @abstractmethod
    def decide(
        self, step: DecisionStep, supernet: Supernet, evaluator: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """Yield the decisions of a step. Each is applied to `supernet` before the next is asked for.

        Where a step was cut off, it is decided again for those of its cell types that are left.
        """

    def cost(self, cells: Mapping[str, CellSpace]) -> Cost:
        """Return what the selection takes, where nothing has been decided yet."""
        return Cost(epochs=sum(len(step.epochs) for step in self.steps(cells)))

    def describe(self, cells: Mapping[str, CellSpace], at_most: bool = False) -> str:
        """Return the name and what there is to do; `at_most`: the search may decide some of it."""
        steps = len(self.steps(cells))
        return f"{self.name}, {'at most ' if at_most else ''}{steps} decision steps" if steps > 1 else self.name


def choices(cells: Mapping[str, CellSpace]) -> int:
    """Return how many candidate operations there are on edges that have more than one."""
    counts = [len(candidates) for space in cells.values() for candidates in space.operations]
    return sum(count for count in counts if count > 1)


def check_scoring(scoring: object) -> None:
    """Raise a ValueError unless `scoring` holds options: the way to score is named with a slash."""
    if not isinstance(scoring, Scoring):
        raise ValueError(
            f"selection.scoring must be a node of options; got {scoring!r}. To choose among the ways to score write "
            "selection/scoring=full or selection/scoring=racing, with a slash."
        )


def check_unraced(name: str, scoring: object) -> None:
    """Raise a ValueError unless `scoring` scores every candidate to the end."""
    check_scoring(scoring)
    if isinstance(scoring, Racing):
        raise ValueError(
            f"selection.scoring must not be a race: selection={name} needs the whole score of every candidate, also of "
            "those that cannot win. Use selection/scoring=full."
        )
