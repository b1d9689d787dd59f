import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.selection.small_selection import (
    SIX_SPACES,
    WIDE_CELL,
    Judge,
    apply,
    cell,
    cells_of,
    decisions_of,
    undecided,
    worth,
)

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection import (
    Discretization,
    OperationDecision,
    Perturbation,
    Racing,
    Score,
    TopologyDecision,
    TrialTraining,
)
from archselect.selection.decisions import from_record

THREE = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3")

Kept = Callable[[str, int, int], Score]
"""(cell type, edge, operation): the score of a supernet that was trained with it."""


class Trainer(Judge):
    """Trains by a table what differs from the decisions of a supernet; remembers names, decisions and trainings."""

    def __init__(self, supernet: Supernet, score_of: Kept, **formulas: Any) -> None:
        super().__init__(**formulas)
        self.supernet, self.score_of = supernet, score_of
        self.names: list[str] = []
        self.seen: list[tuple[Mapping[str, CellDecisions], TrialTraining]] = []

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        self.names.append(name)
        self.seen.append((decisions, training))
        ((changed, edge),) = [
            (cell, edge)
            for cell, before in self.supernet.decisions.items()
            for edge, operation in enumerate(before.operations)
            if decisions[cell].operations[edge] != operation
        ]
        operation = decisions[changed].operations[edge]
        assert operation is not None
        return self.score_of(changed, edge, operation)


def by_tables(accuracy: list[list[float]], loss: list[list[float]] | None = None) -> Kept:
    return lambda cell, edge, operation: Score(
        accuracy[edge][operation], loss[edge][operation] if loss else 1 - accuracy[edge][operation]
    )


ACCURACY = [[0.5, 0.7, 0.6], [0.9, 0.8, 0.7], [0.1, 0.2, 0.3]]
IN_ORDER: Any = {"edge_order": [0, 1, 2]}


def test_keeps_the_operation_with_which_the_trained_supernet_is_best_and_goes_on_from_there() -> None:
    supernet = undecided(cell("cell", THREE))
    trials = Trainer(supernet, by_tables(ACCURACY))
    decided = [decision for _, decision in decisions_of(Discretization(**IN_ORDER), supernet, trials)]
    assert [(d.operation, d.trial) for d in decided if isinstance(d, OperationDecision)] == [
        (1, "cell-edge0/nor_conv_1x1"),
        (0, "cell-edge1/skip_connect"),
        (2, "cell-edge2/nor_conv_3x3"),
    ]
    assert trials.names == [f"cell-edge{edge}/{operation}" for edge in range(3) for operation in THREE]
    assert trials.passes == 0


def test_a_trial_keeps_one_operation_on_top_of_what_is_decided_and_is_trained_as_asked() -> None:
    supernet = undecided(cell("normal", THREE), cell("reduction", THREE))
    trials = Trainer(supernet, by_tables(ACCURACY))
    training = TrialTraining(epochs=3)
    list(decisions_of(Discretization(training=training, **IN_ORDER), supernet, trials, points=[0, 1]))
    states = [(decisions["normal"].operations, decisions["reduction"].operations) for decisions, _ in trials.seen[3:9]]
    assert states == [
        *(((1, None, None), (operation, None, None)) for operation in range(3)),
        *(((1, operation, None), (1, None, None)) for operation in range(3)),
    ]
    assert [given for _, given in trials.seen] == [training] * 12


def test_the_decision_shows_all_scores_and_an_operation_is_as_strong_as_the_supernet_is_good_with_it() -> None:
    for criterion, expected in (("accuracy", [0.5, 0.7, 0.6]), ("loss", [-0.5, -0.3, -0.4])):
        supernet = undecided(cell("cell", THREE))
        trials = Trainer(supernet, by_tables(ACCURACY))
        selector = Discretization(criterion=criterion, **IN_ORDER)  # type: ignore[arg-type]
        ((_, decision),) = decisions_of(selector, supernet, trials, points=[0])
        assert isinstance(decision, OperationDecision)
        assert [score.accuracy for score in decision.scores] == [0.5, 0.7, 0.6]
        assert [strength.value for strength in decision.strengths] == pytest.approx(expected)


@pytest.mark.parametrize(("criterion", "kept"), [("accuracy", 1), ("loss", 2)])
def test_the_criterion_says_what_makes_a_supernet_better(criterion: Any, kept: int) -> None:
    supernet = undecided(cell("cell", THREE))
    trials = Trainer(supernet, by_tables([[0.5, 0.7, 0.6]] * 3, [[1.0, 1.2, 0.9]] * 3))
    selector = Discretization(criterion=criterion, **IN_ORDER)
    ((_, decision),) = decisions_of(selector, supernet, trials, points=[0])
    assert isinstance(decision, OperationDecision)
    assert decision.operation == kept


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_of_equals_the_first_is_kept(criterion: Any) -> None:
    supernet = undecided(cell("cell", THREE))
    trials = Trainer(supernet, by_tables([[0.5, 0.7, 0.7]] * 3))
    ((_, decision),) = decisions_of(Discretization(criterion=criterion, **IN_ORDER), supernet, trials, points=[0])
    assert isinstance(decision, OperationDecision)
    assert (decision.operation, decision.trial) == (1, "cell-edge0/nor_conv_1x1")


def test_an_edge_with_one_candidate_is_decided_without_a_trial() -> None:
    supernet = undecided(cell("cell", [["skip_connect"], [*THREE], ["skip_connect"]]))
    trials = Trainer(supernet, by_tables(ACCURACY))
    decided = [decision for _, decision in decisions_of(Discretization(**IN_ORDER), supernet, trials)]
    assert (decided[0], decided[2]) == (OperationDecision("cell", 0, 0), OperationDecision("cell", 2, 0))
    assert len(trials.names) == 3


@pytest.mark.parametrize(("criterion", "kept"), [("accuracy", (6, 8)), ("loss", (5, 7))])
def test_nodes_drop_the_inputs_whose_removal_hurts_least_without_training(
    criterion: Any, kept: tuple[int, ...]
) -> None:
    supernet = undecided(cell("cell", [["skip_connect"]] * 9, WIDE_CELL))
    gain = worth("cell", [[0.0], [0.0], [0.3], [0.2], [0.1], [0.1], [0.4], [0.2], [0.3]])
    trials = Trainer(supernet, by_tables([]), accuracy=gain, loss=gain)
    decided = [decision for _, decision in decisions_of(Discretization(criterion=criterion), supernet, trials)]
    assert [d.edges for d in decided if isinstance(d, TopologyDecision) and d.node == 4] == [kept]
    assert trials.names == []


def test_edges_and_nodes_come_in_the_order_of_a_perturbation_with_the_same_seed() -> None:
    orders = []
    for selector in (Discretization(), Perturbation()):
        supernet = two_cells()
        trials = Trainer(supernet, by_tables([[0.5, 0.7, 0.6]] * 9))
        decided = decisions_of(selector, supernet, trials, seed=3)
        orders.append([(point, d.cell, d.edge if isinstance(d, OperationDecision) else d.node) for point, d in decided])
    assert orders[0] == orders[1]


@pytest.mark.parametrize("point", [0, 5, 10])
def test_a_point_that_was_cut_off_after_normal_is_decided_again_for_reduction_only(point: int) -> None:
    def run(supernet: Supernet, **points: Any) -> Any:
        trials = Trainer(supernet, lambda cell, edge, operation: Score((edge * 7 + operation * 5) % 11 / 11, 1.0))
        return list(decisions_of(Discretization(), supernet, trials, seed=3, **points))

    whole, resumed = run(two_cells()), two_cells()
    for earlier, decision in whole:
        if earlier < point or (earlier == point and decision.cell == "normal"):
            apply(decision, resumed)
    assert run(resumed, points=range(point, 11)) == [
        (p, d) for p, d in whole if p > point or (p == point and d.cell == "reduction")
    ]


def two_cells() -> Supernet:
    return undecided(*(cell(name, THREE, WIDE_CELL) for name in ("normal", "reduction")))


@pytest.mark.parametrize(
    ("space", "points", "trials"),
    [("darts", 17, 196), ("s1", 17, 56), ("s2", 17, 56), ("s3", 17, 84), ("s4", 17, 56), ("nasbench201", 6, 30)],
)
def test_points_and_trials_of_the_spaces(space: str, points: int, trials: int) -> None:
    cells = cells_of(space)
    Discretization().check(cells)
    assert (Discretization().points(cells), Discretization().trials(cells)) == (points, trials)


def test_points_leave_out_what_the_search_decided_and_dropped() -> None:
    supernet = two_cells()
    for name in ("normal", "reduction"):
        apply(OperationDecision(name, 0, 1), supernet)
        apply(TopologyDecision(name, 4, (5, 8)), supernet)
    assert Discretization().points(supernet.cell_spaces, supernet.decisions) == 6 + 1


@pytest.mark.parametrize("name", SIX_SPACES)
def test_the_architecture_lies_in_the_space(name: str) -> None:
    supernet = Supernet(cells_of(name))
    trials = Trainer(supernet, lambda cell, edge, operation: Score((edge * 7 + operation * 5) % 11 / 11, 1.0))
    list(decisions_of(Discretization(), supernet, trials))
    for cell_name, space in supernet.cell_spaces.items():
        space.check(supernet.genotype().cell(cell_name))


def test_the_record_of_a_decision_names_its_trial_and_is_read_back_with_it() -> None:
    cells: dict[str, CellSpace] = {"cell": cell("cell", THREE)}
    decision = OperationDecision("cell", 1, 2, (Score(0.5, 1.0),) * 3, trial="cell-edge1/nor_conv_3x3")
    record = json.loads(json.dumps(decision.to_record(cells["cell"])))
    assert record["trial"] == "cell-edge1/nor_conv_3x3"
    assert from_record(record, cells) == OperationDecision("cell", 1, 2, trial="cell-edge1/nor_conv_3x3")
    assert "trial" not in OperationDecision("cell", 1, 2).to_record(cells["cell"])


def test_alpha_is_read_by_the_order_of_entropies_only() -> None:
    assert (Discretization().needs_trained_alpha, Discretization(edge_order="entropy").needs_trained_alpha) == (
        False,
        True,
    )
    assert (Discretization().tuning, Discretization().needs_candidates) == (None, True)


# Options that cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "acc"}, r"selection\.criterion must be one of accuracy, loss; got 'acc'"),
        ({"topology_rounds": "both"}, r"selection\.topology_rounds must be one of independent, cumulative; got 'both'"),
        ({"report_strengths": 1}, r"selection\.report_strengths must be true or false; got 1"),
        ({"edge_order": "global"}, r"edge_order=global would train .* Use another order, or selection=perturb\."),
        ({"scoring": "racing"}, r"got 'racing'\. .* write selection/scoring=full or selection/scoring=racing"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Discretization(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"selection\.training\.epochs must be a whole number above 0; got 0"),
        ({"learning_rate": -1}, r"selection\.training\.learning_rate must be a finite number, 0 or more; got -1"),
        ({"schedule": "step"}, r"selection\.training\.schedule must be one of constant, cosine; got 'step'"),
        ({"train_alpha": 1}, r"selection\.training\.train_alpha must be true or false; got 1"),
    ],
)
def test_a_training_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrialTraining(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge_order": [0, 1]}, r"selection\.edge_order must be random, .* contain each of \[0, 1, 2\] once"),
        ({"node_order": [2]}, r"selection\.node_order must be random or, .* contain each of \[\] once; got \[2\]"),
    ],
)
def test_an_order_that_does_not_fit_the_cells_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Discretization(**options).check({"cell": cell("cell", THREE)})


def test_a_space_without_a_choice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"selection=discretization compares the candidate operations"):
        Discretization().check({"cell": cell("cell", ("skip_connect",))})


def test_the_scoring_may_be_a_race() -> None:
    supernet = undecided(cell("cell", THREE))
    trials = Trainer(supernet, by_tables(ACCURACY))
    assert len(list(decisions_of(Discretization(scoring=Racing()), supernet, trials))) == 3
