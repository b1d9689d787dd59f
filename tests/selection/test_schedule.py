from typing import Any

import pytest
from tests.selection.small_selection import PLAIN_CELL, THREE, WIDE_CELL, apply, cell, cells_of, two_cells, undecided

from archselect.models.cell_space import CellTopology
from archselect.selection import OperationDecision, Perturbation, TopologyDecision, Tuning
from archselect.selection.base import DecisionStep
from archselect.selection.schedule import progressive_steps

BOTH = ("normal", "reduction")


def epochs_of(space: str, **options: Any) -> tuple[list[int], int]:
    """Return the epoch before which each step is decided, and all epochs."""
    selector = Perturbation(tuning=Tuning(**options))
    cells = cells_of(space)
    selector.check(cells)
    epochs = [step.epochs for step in selector.steps(cells)]
    assert [number for after in epochs for number in after] == list(range(epochs[-1].stop)), "each epoch once"
    return [after.start for after in epochs], epochs[-1].stop


@pytest.mark.parametrize("space", ["darts", "s1", "s2", "s3", "s4"])
def test_the_darts_family_decides_in_17_steps_within_81_epochs(space: str) -> None:
    assert epochs_of(space) == ([0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80], 81)


@pytest.mark.parametrize(
    ("options", "starts", "total"),
    [
        pytest.param({"epochs": 25}, [0, 5, 10, 15, 20, 24], 25, id="official: the last step moves up"),
        pytest.param({}, [0, 5, 10, 15, 20, 25], 26, id="one epoch follows the last step"),
        pytest.param({"epochs_between": 1}, [0, 1, 2, 3, 4, 5], 6, id="an epoch each"),
        pytest.param({"epochs": 40}, [0, 5, 10, 15, 20, 25], 40, id="further epochs follow the last step"),
        pytest.param({"epochs_between": 0, "epochs": 25}, [0] * 6, 0, id="no tuning"),
    ],
)
def test_nasbench201_decides_in_6_steps(options: dict[str, Any], starts: list[int], total: int) -> None:
    assert epochs_of("nasbench201", **options) == (starts, total)


def test_a_tuning_too_short_for_its_steps_is_refused_and_told_what_it_needs() -> None:
    cells = {"cell": cell("cell", THREE, PLAIN_CELL)}  # three steps; every 5 epochs: 0, 5 and at least 6
    with pytest.raises(ValueError, match=r"epochs=6 is too short for 3 decision steps every 5 epochs: give at least 7"):
        Perturbation(tuning=Tuning(epochs=6)).check(cells)
    Perturbation(tuning=Tuning(epochs=7)).check(cells)
    Perturbation(tuning=Tuning(epochs_between=0, epochs=1)).check(cells)


def test_all_cell_types_decide_an_edge_at_each_step_and_then_a_node() -> None:
    steps = progressive_steps(two_cells().cell_spaces, tuning=Tuning(epochs_between=2))
    assert steps == [
        *(DecisionStep(number, "operation", BOTH, range(2 * number, 2 * number + 2)) for number in range(9)),
        DecisionStep(9, "topology", BOTH, range(18, 20)),
        DecisionStep(10, "topology", BOTH, range(20, 21)),
    ]


def test_a_cell_type_with_fewer_edges_begins_later() -> None:
    supernet = undecided(cell("small", THREE, CellTopology(1, 1, "last", None)), cell("large", THREE, WIDE_CELL))
    steps = progressive_steps(supernet.cell_spaces)
    assert [step.cells for step in steps] == [("large",)] * 8 + [("small", "large")] + [("large",)] * 2


def test_what_the_search_decided_or_dropped_takes_no_step_and_cell_types_end_together() -> None:
    supernet = two_cells()
    for decision in (
        OperationDecision("normal", 5, 1),
        TopologyDecision("normal", 4, (5, 8)),  # drops edges 6 and 7
        OperationDecision("reduction", 0, 2),
    ):
        apply(decision, supernet)
    steps = progressive_steps(supernet.cell_spaces, supernet.decisions)
    assert [(step.kind, step.cells) for step in steps] == [
        *[("operation", ("reduction",))] * 2,
        *[("operation", BOTH)] * 6,
        ("topology", ("reduction",)),
        ("topology", BOTH),
    ]


def test_where_the_search_decided_everything_no_step_is_left() -> None:
    supernet = two_cells()
    for name in BOTH:
        for edge in range(9):
            apply(OperationDecision(name, edge, 0), supernet)
        apply(TopologyDecision(name, 3, (2, 3)), supernet)
        apply(TopologyDecision(name, 4, (5, 6)), supernet)
    assert Perturbation().steps(supernet.cell_spaces, supernet.decisions) == []
