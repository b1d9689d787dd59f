from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from tests.selection.judge import (
    Judge,
    decided_by,
    decisions_of,
    inputs_kept,
    operations_kept,
    order_of,
    present,
    worth,
)
from tests.selection.small_cells import (
    THREE,
    TWO,
    WIDE_CELL,
    WithoutNetwork,
    apply,
    cell,
    cells_of,
    two_cells,
    undecided,
)

from archselect.models.cell_space import CellTopology
from archselect.models.supernet.mixture import MixtureWeights
from archselect.selection import OperationDecision, Perturbation, Score, TopologyDecision

BOTH = ("normal", "reduction")

# Operations


def on_edge_0(judge: Judge, weights: Any = None, operations: Sequence[str] = THREE, **options: Any) -> Any:
    supernet = undecided(cell("cell", operations), weights=weights)
    ((_, decision),) = decisions_of(Perturbation(edge_order=[0, 1, 2], **options), supernet, judge, steps=[0])
    return decision


def test_the_scores_are_those_of_the_supernet_without_each_operation_and_without_renormalising() -> None:
    # Uniform mixtures: every weight is 1/3. All operations together are worth (0.6 + 0.6 + 0.6) / 3 = 0.6; without the
    # first operation of edge 0 that is 0.1 / 3 less, without the second 0.3 / 3, without the third 0.2 / 3.
    judge = Judge(worth("cell", [[0.1, 0.3, 0.2]] * 3))
    decision = on_edge_0(judge)
    assert [score.metric for score in decision.scores] == pytest.approx([0.6 - 0.1 / 3, 0.6 - 0.1, 0.6 - 0.2 / 3])
    assert (decision.unmasked, decision.strengths) == (None, ())
    for masked, weights in enumerate(judge.rounds[0]):
        expected = torch.full((3, 3), 1 / 3)
        expected[0, masked] = 0
        assert torch.equal(weights["cell"], expected)
        assert weights.active["cell"] == tuple(map(tuple, expected.bool().tolist()))


@pytest.mark.parametrize(("criterion", "kept"), [("metric", 1), ("loss", 2)])
def test_the_operation_criterion_says_whether_accuracy_or_loss_is_looked_at(criterion: Any, kept: int) -> None:
    # masked operation:   0      1      2
    # accuracy without:  0.50   0.40   0.40   -> without operation 1 it is lowest; the first of equals is kept
    # loss without:      1.0    1.2    1.5    -> without operation 2 it is highest
    judge = Judge(_without((0.50, 0.40, 0.40)), _without((1.0, 1.2, 1.5)))
    other = "loss" if criterion == "metric" else "metric"
    decision = on_edge_0(judge, operation_criterion=criterion, topology_criterion=other)
    assert decision.operation == kept
    assert decision.scores == (Score(0.50, 1.0), Score(0.40, 1.2), Score(0.40, 1.5))


def _without(values: Sequence[float]) -> Callable[[MixtureWeights], float]:
    return lambda weights: values[weights["cell"][0].tolist().index(0)]


@pytest.mark.parametrize(
    ("renormalize", "kept", "accuracies"),
    [(False, 0, [0.18, 0.40]), (True, 1, [0.90, 0.50])],
    ids=["as is", "renormalised"],
)
def test_renormalising_lets_the_others_take_over_the_weight_of_the_masked_operation(
    renormalize: bool, kept: int, accuracies: list[float]
) -> None:
    # Edge 0 mixes 0.8 of an operation worth 0.5 and 0.2 of one worth 0.9; accuracy is the mixture's worth.
    #                        without the first     without the second
    # as they stand          0.2 * 0.9 = 0.18      0.8 * 0.5 = 0.40      -> the first is missed most
    # renormalised           1.0 * 0.9 = 0.90      1.0 * 0.5 = 0.50      -> the second is missed most
    weights = {"cell": [[0.8, 0.2], [0.5, 0.5], [0.5, 0.5]]}
    decision = on_edge_0(Judge(worth("cell", [[0.5, 0.9], [0, 0], [0, 0]])), weights, TWO, renormalize=renormalize)
    assert decision.operation == kept
    assert [score.metric for score in decision.scores] == pytest.approx(accuracies)


@pytest.mark.parametrize("option", ["score_unmasked", "report_strengths"])
def test_the_supernet_itself_may_be_scored_too_and_decides_nothing(option: str) -> None:
    # The unmasked supernet is made the worst of all: were it taken for a candidate, it would win.
    masked = _without((0.5, 0.4, 0.45))
    judge = Judge(lambda weights: 0.1 if bool(weights["cell"][0].all()) else masked(weights))
    decision = on_edge_0(judge, **{option: True})
    assert decision.unmasked == Score(0.1, 1.0)
    assert [score.metric for score in decision.scores] == [0.5, 0.4, 0.45]
    assert [strength.value for strength in decision.strengths] == pytest.approx([-0.4, -0.3, -0.35])
    assert decision.operation == 1
    assert judge.passes == 4


# The order of the edges


def test_a_random_order_takes_every_edge_once_and_each_one_first_as_often_as_the_others() -> None:
    orders = []
    for seed in range(100):
        supernet = undecided(cell("cell", THREE, CellTopology(2, 2, "concat", 2)))
        decided = decisions_of(Perturbation(), supernet, Judge(), seed, range(5))
        orders.append([decision.edge for _, decision in decided if isinstance(decision, OperationDecision)])
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    for place in (0, 1, 4):
        counts = Counter(order[place] for order in orders)
        assert sum((counts[edge] - 20) ** 2 / 20 for edge in range(5)) < 18.5  # chi-square, 4 degrees, p = 0.001


# Topology. Node 4 of the wide cell is fed by edges 5, 6, 7, 8: a, b, c, d.


def choose_inputs(
    accuracy: Mapping[str, float],
    loss: Mapping[str, float] | None = None,
    operations: Sequence[str] = ("skip_connect",) * 9,
    **options: Any,
) -> tuple[TopologyDecision, Judge]:
    """Decide node 4 of a cell whose edges are decided; the tables say how good it is with these inputs present."""
    supernet = undecided(cell("cell", [[operation, "sep_conv_3x3"] for operation in operations], WIDE_CELL))
    for edge in range(9):
        apply(OperationDecision("cell", edge, 0), supernet)
    judge = Judge(
        lambda weights: accuracy.get(present(weights, "cell", [5, 6, 7, 8]), -1.0),
        lambda weights: (loss or {}).get(present(weights, "cell", [5, 6, 7, 8]), 99.0),
    )
    ((_, decision),) = decisions_of(Perturbation(node_order=[4, 3], **options), supernet, judge, steps=[9])
    assert isinstance(decision, TopologyDecision)
    return decision, judge


# first round, without   a: bcd    b: acd    c: abd    d: abc     -> without a it is best: a is dropped
ACCURACY = {"bcd": 0.9, "acd": 0.8, "abd": 0.7, "abc": 0.6}
# second round, without  a and b: cd    a and c: bd    a and d: bc  -> without a and c it is best
ACCURACY |= {"cd": 0.5, "bd": 0.75, "bc": 0.4}


@pytest.mark.parametrize(
    ("rounds", "dropped", "second"),
    [
        # a is back, so the second round reads 0.8 without b, 0.7 without c, 0.6 without d: b is dropped.
        ("independent", [5, 6], {"acd": 0.8, "abd": 0.7, "abc": 0.6}),
        # a stays out, so the second round reads 0.5 without b, 0.75 without c, 0.4 without d: c is dropped.
        ("cumulative", [5, 7], {"cd": 0.5, "bd": 0.75, "bc": 0.4}),
    ],
)
def test_a_dropped_input_is_back_or_stays_out_while_the_next_round_scores(
    rounds: Any, dropped: list[int], second: dict[str, float]
) -> None:
    decision, judge = choose_inputs(ACCURACY, topology_rounds=rounds)
    assert [round_.dropped for round_ in decision.rounds] == dropped
    assert decision.edges == tuple(edge for edge in (5, 6, 7, 8) if edge not in dropped)
    scored = [[present(weights, "cell", [5, 6, 7, 8]) for weights in round_] for round_ in judge.rounds]
    assert scored == [["bcd", "acd", "abd", "abc"], list(second)]
    assert [score.metric for score in decision.rounds[1].scores.values()] == list(second.values())


@pytest.mark.parametrize(("criterion", "dropped"), [("metric", [5, 6]), ("loss", [8, 7])])
def test_the_topology_criterion_says_whether_accuracy_or_loss_is_looked_at(criterion: Any, dropped: list[int]) -> None:
    # without      a     b     c     d
    # accuracy    0.9   0.8   0.7   0.6    the highest two are dropped: a, b
    # loss        2.0   1.5   1.2   1.1    the lowest two are dropped: d, c
    loss = {"bcd": 2.0, "acd": 1.5, "abd": 1.2, "abc": 1.1}
    other = "loss" if criterion == "metric" else "metric"
    decision, _ = choose_inputs(ACCURACY, loss, topology_criterion=criterion, operation_criterion=other)
    assert [round_.dropped for round_ in decision.rounds] == dropped


@pytest.mark.parametrize("criterion", ["metric", "loss"])
def test_of_inputs_whose_removal_hurts_the_same_the_last_is_dropped(criterion: Any) -> None:
    # a, b and c can equally well be missed, d cannot: c goes first, then b.
    accuracy, loss = ({"bcd": best, "acd": best, "abd": best, "abc": worst} for best, worst in ((0.9, 0.1), (1.0, 9.0)))
    decision, _ = choose_inputs(accuracy, loss, topology_criterion=criterion)
    assert [round_.dropped for round_ in decision.rounds] == [7, 6]
    assert decision.edges == (5, 8)


def test_inputs_decided_none_leave_before_any_other_and_without_scoring() -> None:
    # Edges 7 and 8 are empty. By the table d would be missed most, but it carries nothing.
    operations = ("skip_connect",) * 7 + ("none", "none")
    decision, judge = choose_inputs(ACCURACY, operations=operations)
    assert decision.edges == (5, 6)
    assert judge.passes == 0
    assert [(dict(round_.scores), round_.dropped) for round_ in decision.rounds] == [({}, 7), ({}, 8)]


def test_a_node_of_empty_inputs_keeps_as_many_as_it_must() -> None:
    decision, _ = choose_inputs({}, operations=("none",) * 9)
    assert len(decision.edges) == 2


@pytest.mark.parametrize("given", [[4, 3], {"normal": [4, 3], "reduction": [3, 4]}], ids=["for all", "per cell"])
def test_nodes_are_decided_in_the_order_that_is_given(given: Any) -> None:
    decided = order_of(decided_by(Perturbation(node_order=given), two_cells(), Judge()))
    second = [4, 3] if isinstance(given, list) else [3, 4]
    expected = zip([4, 3], second, strict=True)
    assert decided[18:] == [(name, f"node {n}") for pair in expected for name, n in zip(BOTH, pair, strict=True)]


# Other rules for the operations

UNLIKE: Any = {"cell": [[0.2, 0.5, 0.3]] * 9}  # alpha prefers operation 1, and masking 2 does most harm
RULES = ("perturbation", "magnitude", "random")


def by_rule(rule: Any, seed: int = 0, **options: Any) -> tuple[list[Any], Judge]:
    """Decide a cell whose edges are worth the more the later they come."""
    judge = Judge(worth("cell", [[0.0, 0.1, 1.0 + edge] for edge in range(9)]))
    supernet = undecided(cell("cell", THREE, WIDE_CELL), weights=UNLIKE)
    return decided_by(Perturbation(operation_rule=rule, **options), supernet, judge, seed), judge


@pytest.mark.parametrize(("rule", "kept"), [("perturbation", 2), ("magnitude", 1)])
def test_operations_follow_the_rule(rule: Any, kept: int) -> None:
    decided = by_rule(rule)[0]
    assert operations_kept(decided) == {("cell", edge): kept for edge in range(9)}
    weights = [strength.value for strength in decided[0].strengths]
    assert weights == (pytest.approx([0.2, 0.5, 0.3]) if rule == "magnitude" else [])


def test_operations_drawn_at_random_are_uniform() -> None:
    drawn = [operations_kept(by_rule("random", seed)[0]) for seed in range(60)]
    counts = Counter(operation for kept in drawn for operation in kept.values())
    assert sum((counts[index] - 180) ** 2 / 180 for index in range(3)) < 13.8  # chi-square, p = 0.001
    assert len({tuple(sorted(kept.items())) for kept in drawn}) == 60


@pytest.mark.parametrize("rule", ["magnitude", "random"])
def test_nodes_follow_perturbation_whatever_the_rule_for_operations(rule: Any) -> None:
    supernet = undecided(cell("cell", ("skip_connect", "sep_conv_3x3"), WIDE_CELL))
    judge = Judge(worth("cell", [[0.1 * value] * 2 for value in (0, 0, 3, 1, 2, 1, 3, 4, 2)]))
    decided = decided_by(Perturbation(operation_rule=rule), supernet, judge)
    assert inputs_kept(decided) == {("cell", 3): (2, 4), ("cell", 4): (6, 7)}
    assert judge.passes == 3 + 4 + 3  # nothing is scored for an operation


@pytest.mark.parametrize("seed", [0, 1])
def test_edges_and_nodes_come_in_the_same_order_whatever_the_rule(seed: int) -> None:
    orders = [order_of(by_rule(rule, seed)[0]) for rule in RULES]
    assert orders[0] == orders[1] == orders[2] != order_of(by_rule("random", 2)[0])


# Whole selections


@pytest.mark.parametrize(
    ("space", "steps", "passes"),
    [
        ("s2", 14 + 3, 14 * 2 * 2 + (3 + (4 + 3) + (5 + 4 + 3)) * 2),  # 56 + 44
        ("nasbench201", 6, 6 * 5),
    ],
)
def test_steps_and_scoring_passes_of_the_spaces(space: str, steps: int, passes: int) -> None:
    supernet, judge = WithoutNetwork(cells_of(space), alpha_scale=0.0), Judge()
    decided = list(decisions_of(Perturbation(), supernet, judge))
    assert [step for step, _ in decided] == [step for step in range(steps) for _ in supernet.cell_spaces]
    assert judge.passes == passes
