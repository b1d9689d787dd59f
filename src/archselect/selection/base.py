"""What a selection method is: a list of steps, and a function that makes the decisions of a step.

One of your own is a subclass of `Selector` and a file in `configs/selection`; the shortest are `magnitude` and
`random_choice`, and docs/guides/selection.md has one. What an option does stands beside it in that folder.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.decisions import Decision
from archselect.selection.limit import Budget, Limit
from archselect.selection.scoring import Racing, Score, Scoring, SuccessiveElimination
from archselect.tasks import Task
from archselect.utils.validation import NonNegativeFloat, NonNegativeInt, PositiveInt, check_fields, check_options

Cells = Mapping[str, CellSpace]
LearningRateSchedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class DecisionStep:
    """What is decided at one go, before the supernet is tuned.

    Attributes:
        number: Counted from 0.
        kind: What each of the cell types decides: the `operation` of one edge; the `topology` of one node, that is its
            inputs; or `all` that is left to decide.
        cells: The cell types, in the order in which they decide.
        epochs: The epochs of the tuning that follow; empty: none.
    """

    number: int
    kind: Literal["operation", "topology", "all"]
    cells: tuple[str, ...]
    epochs: range = range(0)


@dataclass(frozen=True)
class Tuning:
    """How the supernet is trained between two steps, so that it recovers from the last decision.

    The official code builds a cosine schedule and never steps it. It keeps the optimizer object of `alpha`, with Adam's
    moments and its count of steps, and makes a new one for the weights, whose momentum starts at 0
    (`sota/cnn/projection.py`, `reset_optimizer`).
    """

    epochs_between: NonNegativeInt = 5
    epochs: PositiveInt | None = None
    learning_rate: NonNegativeFloat = 0.0025
    schedule: LearningRateSchedule = "constant"
    train_alpha: bool = True
    architecture_optimizer_state: Literal["search", "fresh"] = "search"

    def __post_init__(self) -> None:
        check_fields(self, "selection.tuning")

    def epochs_after(self, steps: int) -> list[range]:
        """Return the epochs that follow each of so many steps; when `epochs` are few, the last steps move up."""
        if self.epochs_between == 0:
            return [range(0)] * steps
        total = self.epochs or (steps - 1) * self.epochs_between + 1
        starts = [min(number * self.epochs_between, total - 1) for number in range(steps)]
        return [range(*epochs) for epochs in pairwise([*starts, total])]


@dataclass(frozen=True)
class TrialTraining:
    """How a copy of the supernet is trained on trial; both of its optimizers start afresh."""

    epochs: PositiveInt = 5
    learning_rate: NonNegativeFloat = 0.0025
    schedule: LearningRateSchedule = "constant"
    train_alpha: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "selection.training")


class Evaluator(Protocol):
    """What a selector may try on the supernet. Nothing that is tried changes it."""

    @property
    def task(self) -> Task:
        """What the supernet is trained for."""
        ...

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

        A decision that names the trial lets the supernet go on from there. The name is `GROUP/MEMBER`, unlike that of
        any other; of the trials of a group at most one is gone on from.
        """
        ...


class Cost(NamedTuple):
    """What a selection takes, as far as can be foreseen."""

    epochs: int  # that supernets are trained for, all together
    candidates: int = 0  # operations that the supernet is scored without


@dataclass(frozen=True)
class Selector(ABC):
    """Reads an architecture off a supernet: `for step in steps: decide, apply, tune`.

    A selector is a pure function of the supernet (its weights and the decisions made so far) and of the seed. It keeps
    no state, so a selection that was cut off goes on from the supernet's last checkpoint and ends with the same
    architecture. `report_strengths`, `tuning` and `scoring` are options where a subclass declares them as fields of its
    own.

    Attributes:
        name: Shown in folders and reports.
        report_strengths: Whether the strengths that it gives to the operations are shown.
        tuning: Training between two steps; None: there is none.
        scoring: On what the supernet is scored; None: it is not.
        limit: What the selected network may cost at most.
        budget: What `limit` comes to for the networks of a space; None: everything is within it. The stage sets it.
    """

    name: str
    report_strengths: bool = field(default=False, init=False)
    tuning: Tuning | None = field(default=None, init=False)
    scoring: Scoring | None = field(default=None, init=False)
    limit: Limit = field(default_factory=Limit, kw_only=True, repr=False)
    budget: Budget | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, "selection")
        check_options("selection.limit", self.limit, Limit)

    @property
    def needs_candidates(self) -> bool:
        """Whether it compares candidates, so that there must be an edge with two of them."""
        return True

    @property
    def needs_trained_alpha(self) -> bool:
        """Whether it reads the size of `alpha`, which must have been trained then."""
        return False

    def check(self, cells: Cells) -> None:
        """Raise a ValueError if there is nothing to select or the options do not fit these cells."""
        if self.needs_candidates and choices(cells) == 0:
            raise ValueError(
                f"selection={self.name} compares the candidate operations of an edge, but every edge of this search "
                "space has one only. Give at least one edge two candidates."
            )

    def check_task(self, task: Task) -> None:  # noqa: B027
        """Raise a ValueError if the options do not fit what the supernet is trained for."""

    def steps(self, cells: Cells, decided: Mapping[str, CellDecisions] | None = None) -> list[DecisionStep]:
        """Return the steps of the selection, where so much has been decided by the search; None: nothing."""
        return [DecisionStep(0, "all", tuple(cells))]

    @abstractmethod
    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
        """Yield the decisions of a step. Each is applied to `supernet` before the next is asked for.

        Where a step was cut off, it is decided again for those of its cell types that are left.
        """

    def offered(self, supernet: Supernet, cell: str, edge: int) -> list[int]:
        """Return the candidates of an undecided edge among which to choose: all that the limit leaves."""
        if self.budget is None:
            return list(range(len(supernet.cell_spaces[cell].operations[edge])))
        return self.budget.operations(supernet.decisions, cell, edge)

    def excluded_inputs(self, supernet: Supernet, cell: str, node: int) -> tuple[tuple[int, ...], ...]:
        """Return the sets of in-edges of an undecided node that the limit forbids."""
        return () if self.budget is None else self.budget.excluded_inputs(supernet.decisions, cell, node)

    def cost(self, cells: Cells) -> Cost:
        """Return what the selection takes, where nothing has been decided yet."""
        return Cost(epochs=sum(len(step.epochs) for step in self.steps(cells)))

    def describe(self, cells: Cells, at_most: bool = False) -> str:
        """Return the name and what there is to do; `at_most`: the search may decide some of it."""
        steps = len(self.steps(cells))
        return f"{self.name}, {'at most ' if at_most else ''}{steps} decision steps" if steps > 1 else self.name


def others(space: CellSpace, edge: int, offered: Collection[int]) -> tuple[int, ...]:
    """Return the candidates of an edge that are not offered."""
    return tuple(operation for operation in range(len(space.operations[edge])) if operation not in offered)


def choices(cells: Cells) -> int:
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
