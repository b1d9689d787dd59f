"""A dashboard gets a run's result and the paper's number in the same unit, where there are such."""

from typing import Any

import pytest

from archselect.results.formatting import comparison

GENOTYPE = "normal:2:skip_connect@0+sep_conv_3x3@1//reduction:2:sep_conv_3x3@0+sep_conv_3x3@1"
STAGE = {"folder": "f", "seconds": 1.0, "reused": False}


def summary(**more: Any) -> dict[str, Any]:
    choices = {"search_space": "s2", "search": "darts", "selection": "perturb", "data": "cifar10"}
    stages = {"search": STAGE, "selection": STAGE, "evaluation": STAGE}
    return {**choices, "evaluation": "retrain_cifar10", "seed": 0, "genotype": GENOTYPE, "stages": stages, **more}


def test_a_result_stands_beside_the_papers_number() -> None:
    assert comparison(summary(**{"evaluation.test_accuracy": 0.9751})) == {
        "result/skip_share": 0.25,
        "result/test_accuracy": pytest.approx(97.51),
        "paper/test_accuracy": 97.21,
        "paper/of": "best of 4 seeds",
        "paper/lead": pytest.approx(0.30),
    }


def test_where_the_paper_has_no_number_there_is_none() -> None:
    found = comparison(summary(**{"evaluation.test_accuracy": 0.5, "data": "digits"}))
    assert found == {"result/skip_share": 0.25, "result/test_accuracy": 50.0}


def test_what_was_looked_up_is_compared_as_such() -> None:
    looked_up = {"evaluation.rank": 1, "evaluation.of": 15625, "evaluation.cifar10_test": 88.0}
    found = comparison(summary(search_space="nasbench201", evaluation="nasbench201", **looked_up))
    assert (found["result/test_accuracy"], found["paper/test_accuracy"]) == (88.0, 88.11)


def test_without_an_evaluation_there_is_the_cell_alone() -> None:
    stages = {"search": STAGE, "selection": STAGE}
    assert comparison(summary(evaluation="none", stages=stages)) == {"result/skip_share": 0.25}
    assert comparison(summary(evaluation="none", stages={})) == {}
