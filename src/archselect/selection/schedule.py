"""The steps of a selection and the epochs of tuning between them (DARTS-PT, Algorithm 1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.utils.validation import NonNegativeFloat, NonNegativeInt, PositiveInt, check_fields

StepKind = Literal["operation", "topology", "all"]
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
    kind: StepKind
    cells: tuple[str, ...]
    epochs: range = range(0)


@dataclass(frozen=True)
class Tuning:
    """How the supernet is trained between two steps, so that it recovers from the last decision.

    Attributes:
        epochs_between: Epochs between two steps; 0: no tuning at all.
        epochs: All epochs of the tuning; null: one follows the last step. When fewer, the last steps move up to the
            last epoch.
        learning_rate: Of the weights, at its start (official: a tenth of the search's).
        schedule: `constant` (the official code builds a cosine and never steps it) or `cosine`.
        train_alpha: Whether the `alpha` of undecided edges trains on.
        architecture_optimizer_state: Whether the optimizer of `alpha` goes on with what it remembers of the `search`,
            Adam's moments and its count of steps, or starts `fresh`. The official code keeps the optimizer object, and
            makes a new one for the weights, whose momentum starts at 0 (sota/cnn/projection.py, `reset_optimizer`).
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
        """Return the epochs that follow each of so many steps."""
        if self.epochs_between == 0:
            return [range(0)] * steps
        total = self.epochs or (steps - 1) * self.epochs_between + 1
        starts = [min(number * self.epochs_between, total - 1) for number in range(steps)]
        return [range(*epochs) for epochs in pairwise([*starts, total])]


def progressive_steps(
    cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None, tuning: Tuning | None = None
) -> list[DecisionStep]:
    """Return the steps that decide edge by edge, then node by node, one of each cell type at a step.

    A cell type with fewer edges or nodes left than another begins later, so that all end together.

    Args:
        cells: The choices of each cell type.
        decided: What the search has decided already; None: nothing.
        tuning: What happens between the steps.
    """
    decided = decided or {name: CellDecisions.none(space) for name, space in cells.items()}
    edges = {name: len(decided[name].undecided_edges) for name in cells}
    nodes = {name: len(decided[name].undecided_nodes(space)) for name, space in cells.items()}
    steps: list[tuple[StepKind, tuple[str, ...]]] = [
        *(("operation", names) for names in _side_by_side(edges)),
        *(("topology", names) for names in _side_by_side(nodes)),
    ]
    epochs = tuning.epochs_after(len(steps)) if tuning else [range(0)] * len(steps)
    return [DecisionStep(number, *step, epochs[number]) for number, step in enumerate(steps)]


def _side_by_side(counts: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Yield the cell types that take a turn, until each has had as many as its count."""
    for left in range(max(counts.values()), 0, -1):
        yield tuple(name for name, count in counts.items() if count >= left)
