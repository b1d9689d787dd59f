from typing import Any

import pytest
from tests.selection.judge import Judge, decided_by, decisions_of, inputs_kept, worth
from tests.selection.small_cells import THREE, WIDE_CELL, cell, undecided

from archselect.selection import Discretization, OperationDecision, Racing, Score, TrialTraining

Table = list[list[float]]
ACCURACY = [[0.5, 0.7, 0.6], [0.9, 0.8, 0.7], [0.1, 0.2, 0.3]]
LOSS = [[1 - value for value in row] for row in ACCURACY]
IN_ORDER: Any = {"edge_order": [0, 1, 2]}


class Trainer(Judge):
    """Scores the operations of edges by tables, and remembers what it was asked to train."""

    def __init__(self, accuracies: Table = ACCURACY, losses: Table = LOSS, **formulas: Any) -> None:
        super().__init__(**formulas)
        self.tables, self.seen = (accuracies, losses), list[tuple[Any, ...]]()

    def train(self, name: str, decisions: Any, training: Any) -> Score:
        self.seen.append((name, decisions, training))
        edge, operation = name.split("-edge")[1].split("/")
        return Score(*(table[int(edge)][THREE.index(operation)] for table in self.tables))


def test_keeps_the_operation_with_which_the_trained_supernet_is_best_and_goes_on_from_there() -> None:
    trainer = Trainer()
    decided = decided_by(Discretization(scoring=Racing(), **IN_ORDER), undecided(cell("cell", THREE)), trainer)
    assert [(decision.operation, decision.trial) for decision in decided] == [
        (1, "cell-edge0/nor_conv_1x1"),
        (0, "cell-edge1/skip_connect"),
        (2, "cell-edge2/nor_conv_3x3"),
    ]
    names = [name for name, _, _ in trainer.seen]
    assert names == [f"cell-edge{edge}/{operation}" for edge in range(3) for operation in THREE]
    assert trainer.passes == 0


def test_a_trial_keeps_one_operation_on_top_of_what_is_decided_and_is_trained_as_asked() -> None:
    supernet = undecided(cell("normal", THREE), cell("reduction", THREE))
    trainer, training = Trainer(), TrialTraining(epochs=3)
    list(decisions_of(Discretization(training=training, **IN_ORDER), supernet, trainer, steps=[0, 1]))
    states = [(kept["normal"].operations, kept["reduction"].operations) for _, kept, _ in trainer.seen[3:9]]
    assert states == [
        *(((1, None, None), (operation, None, None)) for operation in range(3)),
        *(((1, operation, None), (1, None, None)) for operation in range(3)),
    ]
    assert [given for _, _, given in trainer.seen] == [training] * 12


@pytest.mark.parametrize(
    ("criterion", "kept", "strengths"), [("metric", 1, [0.5, 0.7, 0.7]), ("loss", 2, [-1.0, -1.2, -0.9])]
)
def test_the_criterion_says_what_makes_a_supernet_better_and_an_operation_strong(
    criterion: Any, kept: int, strengths: list[float]
) -> None:
    trainer = Trainer([[0.5, 0.7, 0.7]] * 3, [[1.0, 1.2, 0.9]] * 3)  # of equals the first is kept
    decided = decided_by(Discretization(criterion=criterion, **IN_ORDER), undecided(cell("cell", THREE)), trainer)
    assert decided[0].operation == kept
    assert decided[0].scores == (Score(0.5, 1.0), Score(0.7, 1.2), Score(0.7, 0.9))
    assert [strength.value for strength in decided[0].strengths] == pytest.approx(strengths)


def test_an_edge_with_one_candidate_is_decided_without_a_trial() -> None:
    supernet, trainer = undecided(cell("cell", [["skip_connect"], [*THREE], ["skip_connect"]])), Trainer()
    decided = decided_by(Discretization(**IN_ORDER), supernet, trainer)
    assert (decided[0], decided[2]) == (OperationDecision("cell", 0, 0), OperationDecision("cell", 2, 0))
    assert len(trainer.seen) == 3


@pytest.mark.parametrize(("criterion", "kept"), [("metric", (6, 8)), ("loss", (5, 7))])
def test_nodes_drop_the_inputs_whose_removal_hurts_least_without_training(criterion: Any, kept: Any) -> None:
    supernet = undecided(cell("cell", [["skip_connect"]] * 9, WIDE_CELL))
    gain = worth("cell", [[0.0], [0.0], [0.3], [0.2], [0.1], [0.1], [0.4], [0.2], [0.3]])
    trainer = Trainer(accuracy=gain, loss=gain)
    assert inputs_kept(decided_by(Discretization(criterion=criterion), supernet, trainer))["cell", 4] == kept
    assert trainer.seen == []
