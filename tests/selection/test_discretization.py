import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.selection.small_selection import (
    THREE,
    WIDE_CELL,
    Judge,
    cell,
    cells_of,
    decided_by,
    decisions_of,
    inputs_kept,
    judge_of_everything,
    order_of,
    two_cells,
    undecided,
    worth,
)

from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Discretization, OperationDecision, Perturbation, Racing, Score, TrialTraining
from archselect.selection.base import Cost
from archselect.selection.decisions import from_record


class Trainer(Judge):
    """Scores, by tables per edge and operation, what differs from the decisions of a supernet; remembers all."""

    def __init__(
        self, supernet: Supernet, right: list[list[float]], losses: list[list[float]] | None = None, **formulas: Any
    ) -> None:
        super().__init__(**formulas)
        self.supernet = supernet
        self.tables = (right, losses or [[1 - value for value in row] for row in right])
        self.names: list[str] = []
        self.seen: list[tuple[Mapping[str, CellDecisions], TrialTraining]] = []

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        self.names.append(name)
        self.seen.append((decisions, training))
        ((edge, operation),) = (
            (edge, now)
            for cell, before in self.supernet.decisions.items()
            for edge, (was, now) in enumerate(zip(before.operations, decisions[cell].operations, strict=True))
            if was != now
        )
        assert operation is not None
        return Score(*(table[edge][operation] for table in self.tables))


ACCURACY = [[0.5, 0.7, 0.6], [0.9, 0.8, 0.7], [0.1, 0.2, 0.3]]
IN_ORDER: Any = {"edge_order": [0, 1, 2]}


def test_keeps_the_operation_with_which_the_trained_supernet_is_best_and_goes_on_from_there() -> None:
    supernet = undecided(cell("cell", THREE))
    trainer = Trainer(supernet, ACCURACY)
    decided = decided_by(Discretization(scoring=Racing(), **IN_ORDER), supernet, trainer)
    assert [(decision.operation, decision.trial) for decision in decided] == [
        (1, "cell-edge0/nor_conv_1x1"),
        (0, "cell-edge1/skip_connect"),
        (2, "cell-edge2/nor_conv_3x3"),
    ]
    assert trainer.names == [f"cell-edge{edge}/{operation}" for edge in range(3) for operation in THREE]
    assert trainer.passes == 0


def test_a_trial_keeps_one_operation_on_top_of_what_is_decided_and_is_trained_as_asked() -> None:
    supernet = undecided(cell("normal", THREE), cell("reduction", THREE))
    trainer = Trainer(supernet, ACCURACY)
    training = TrialTraining(epochs=3)
    list(decisions_of(Discretization(training=training, **IN_ORDER), supernet, trainer, steps=[0, 1]))
    states = [(decisions["normal"].operations, decisions["reduction"].operations) for decisions, _ in trainer.seen[3:9]]
    assert states == [
        *(((1, None, None), (operation, None, None)) for operation in range(3)),
        *(((1, operation, None), (1, None, None)) for operation in range(3)),
    ]
    assert [given for _, given in trainer.seen] == [training] * 12


@pytest.mark.parametrize(
    ("criterion", "kept", "strengths"), [("accuracy", 1, [0.5, 0.7, 0.7]), ("loss", 2, [-1.0, -1.2, -0.9])]
)
def test_the_criterion_says_what_makes_a_supernet_better_and_an_operation_strong(
    criterion: Any, kept: int, strengths: list[float]
) -> None:
    supernet = undecided(cell("cell", THREE))
    trainer = Trainer(supernet, [[0.5, 0.7, 0.7]] * 3, [[1.0, 1.2, 0.9]] * 3)  # of equals the first is kept
    decided = decided_by(Discretization(criterion=criterion, **IN_ORDER), supernet, trainer)
    assert decided[0].operation == kept
    assert decided[0].scores == (Score(0.5, 1.0), Score(0.7, 1.2), Score(0.7, 0.9))
    assert [strength.value for strength in decided[0].strengths] == pytest.approx(strengths)


def test_an_edge_with_one_candidate_is_decided_without_a_trial() -> None:
    supernet = undecided(cell("cell", [["skip_connect"], [*THREE], ["skip_connect"]]))
    trainer = Trainer(supernet, ACCURACY)
    decided = decided_by(Discretization(**IN_ORDER), supernet, trainer)
    assert (decided[0], decided[2]) == (OperationDecision("cell", 0, 0), OperationDecision("cell", 2, 0))
    assert len(trainer.names) == 3


@pytest.mark.parametrize(("criterion", "kept"), [("accuracy", (6, 8)), ("loss", (5, 7))])
def test_nodes_drop_the_inputs_whose_removal_hurts_least_without_training(
    criterion: Any, kept: tuple[int, ...]
) -> None:
    supernet = undecided(cell("cell", [["skip_connect"]] * 9, WIDE_CELL))
    gain = worth("cell", [[0.0], [0.0], [0.3], [0.2], [0.1], [0.1], [0.4], [0.2], [0.3]])
    trainer = Trainer(supernet, [], accuracy=gain, loss=gain)
    assert inputs_kept(decided_by(Discretization(criterion=criterion), supernet, trainer))["cell", 4] == kept
    assert trainer.names == []


def test_edges_and_nodes_come_in_the_order_of_a_perturbation_with_the_same_seed() -> None:
    orders = [
        order_of(decided_by(selector, two_cells(), judge_of_everything(two_cells()), seed=3))
        for selector in (Discretization(), Perturbation())
    ]
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("space", "trained"), [("darts", 196), ("s1", 56), ("s2", 56), ("s3", 84), ("s4", 56), ("nasbench201", 30)]
)
def test_supernets_trained_in_the_spaces(space: str, trained: int) -> None:
    assert Discretization(training=TrialTraining(epochs=1)).cost(cells_of(space)) == Cost(trained)


def test_the_record_of_a_decision_names_its_trial_and_is_read_back_with_it() -> None:
    cells = {"cell": cell("cell", THREE)}
    decision = OperationDecision("cell", 1, 2, (Score(0.5, 1.0),) * 3, trial="cell-edge1/nor_conv_3x3")
    record = json.loads(json.dumps(decision.to_record(cells["cell"])))
    assert record["trial"] == "cell-edge1/nor_conv_3x3"
    assert from_record(record, cells) == OperationDecision("cell", 1, 2, trial="cell-edge1/nor_conv_3x3")
    assert "trial" not in OperationDecision("cell", 1, 2).to_record(cells["cell"])
