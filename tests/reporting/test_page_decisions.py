"""Decisions as rows: in which order, how long the bars are, what became of each input of a node."""

import pytest
from tests.reporting.conftest import DECISIONS, operation, strengths

from archselect.reporting.html.decisions import Decisions, tabulate
from archselect.results.metric import Metric


def bars(decisions: Decisions) -> list[float | None]:
    return [operation["bar"] for operation in decisions.operations]


def test_a_bar_is_the_harm_of_a_removal_against_that_of_the_edge_s_most_dispensable_operation() -> None:
    smaller, by_loss = operation(), operation()
    smaller["scores"][0]["accuracy"] = 0.4
    by_loss["scores"][1]["loss"] = 3.0
    decisions = tabulate([*DECISIONS, smaller])
    assert bars(decisions) == [1.0, 0.0, pytest.approx(0.4), 0.0]  # 10 points of the largest harm, 25
    assert (decisions.longest, decisions.tried) == (0.25, False)
    assert [edge["order"] for edge in decisions.edges] == [1, 3]
    assert bars(tabulate([by_loss], by_loss=True)) == [0.0, 1.0]


def test_a_bar_is_the_strength_where_the_selection_names_one() -> None:
    decisions = tabulate([operation(strengths=strengths(-0.1, 0.4))])
    first, second = decisions.operations
    assert (first["strength"], first["error"], first["bar"]) == (-0.1, 0.02, pytest.approx(-0.25))
    assert (second["strength"], second["error"], second["bar"]) == (0.4, None, 1.0)
    assert decisions.compared and decisions.longest == 0.4


def test_where_copies_were_trained_bars_are_the_lead_over_the_weakest_operation() -> None:
    record = operation(trial="normal-edge0/skip_connect", strengths=strengths(-1.5, -2.0))
    decisions = tabulate([record], by_loss=True)
    assert decisions.tried and decisions.longest == 0.5
    assert bars(decisions) == [1.0, 0.0]


def test_a_candidate_that_lost_a_race_tells_how_many_images_it_was_scored_on() -> None:
    record = operation()
    record["scores"][1]["beaten_after"] = 512
    assert [operation["beaten_after"] for operation in tabulate([record]).operations] == [None, 512]


def test_what_is_no_number_or_was_not_seen_has_no_bar_and_leaves_the_others_theirs() -> None:
    record = operation()
    record["candidates"].insert(0, "none")
    record["scores"].insert(0, {"candidate": "none", "accuracy": float("nan"), "loss": float("nan")})
    assert bars(tabulate([record])) == [None, 1.0, 0.0]
    unseen = tabulate([operation(scores=[])])
    assert bars(unseen) == [None, None]
    assert [operation["kept"] for operation in unseen.operations] == [True, False]
    assert not unseen.scored and not unseen.compared


def test_an_input_of_a_node_tells_its_rounds_and_when_it_was_dropped() -> None:
    (node,) = tabulate(DECISIONS).nodes
    assert [(seen["edge"], seen["values"], seen["outcome"]) for seen in node["candidates"]] == [
        ("(0,2)", [25.0], "kept"),
        ("(1,2)", [75.0], "dropped in round 1"),
    ]


def test_the_harm_of_a_removal_is_a_larger_error_in_its_own_unit() -> None:
    record = operation()
    record["scores"] = [
        {"candidate": "skip_connect", "mean_absolute_error": 12.5, "loss": 2.0},
        {"candidate": "sep_conv_3x3", "mean_absolute_error": 10.0, "loss": 2.5},
    ]
    decisions = tabulate([record], metric=Metric("mean_absolute_error", "min"))
    assert bars(decisions) == [1.0, 0.0] and decisions.longest == 2.5
    assert [one["value"] for one in decisions.operations] == [12.5, 10.0]
