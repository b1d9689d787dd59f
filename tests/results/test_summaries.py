"""Finished runs are found, counted once, gathered over their seeds, and stand beside the paper's number."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.results.summaries import costs, looked_up, regression, summary, write

from archselect.genotype import PUBLISHED
from archselect.results.formatting import comparison, duration, markdown_table
from archselect.results.summaries import Choices, Row, collect, paper_number, rows


def row_of(folder: Path, *summaries: dict[str, Any]) -> list[Row]:
    write(folder, *summaries)
    return rows(collect(folder, warn=pytest.fail))


@pytest.mark.parametrize(
    ("summaries", "rows_of_seeds"),
    [
        ([summary(0, 0.9), summary(1, 0.8), summary(0, 0.9)], [[0, 1]]),
        ([summary(0, None), summary(0, None), summary(1, None)], [[0, 1]]),
        ([summary(0), summary(0, selection="magnitude")], [[0], [0]]),
        ([looked_up(0, 11), looked_up(1, 11) | {"stages": looked_up(0, 11)["stages"]}], [[0, 1]]),
    ],
    ids=["typed twice", "not evaluated", "two selections with one evaluation", "two seeds that look up one cell"],
)
def test_a_result_counts_once(summaries: list[dict[str, Any]], rows_of_seeds: list[list[int]], tmp_path: Path) -> None:
    assert [row.seeds for row in row_of(tmp_path, *summaries)] == rows_of_seeds


@pytest.mark.parametrize("choice", Choices._fields)
def test_every_choice_makes_a_row_of_its_own(choice: str, tmp_path: Path) -> None:
    assert len(row_of(tmp_path, summary(0), summary(1), summary(0) | {choice: "other"})) == 2


def test_runs_that_were_given_their_genotype_are_told_apart_by_it(tmp_path: Path) -> None:
    def given(genotype: str, seed: int) -> dict[str, Any]:
        stages = {"evaluation": {"folder": f"{genotype}-{seed}", "seconds": 1.0}}
        return summary(seed, search=None, selection=None, genotype=genotype, stages=stages)

    published, own = PUBLISHED["DARTS_V2"].to_text(), "normal:2:skip_connect@0"
    found = row_of(tmp_path, given(published, 0), given(published, 1), given(own, 0))
    assert [(row.choices.search, len(row.results)) for row in found] == [("–", 2), ("–", 1)]
    assert found[0].choices.selection == "DARTS_V2"
    assert found[1].choices.selection.startswith("genotype ")


def test_takes_the_table_s_accuracy_on_the_row_s_own_data_where_it_has_them(tmp_path: Path) -> None:
    found = row_of(tmp_path, looked_up(0, 10), looked_up(0, 10, data="cifar100"), looked_up(0, 10, data="digits"))
    assert [(row.choices.data, row.mean) for row in found] == [
        ("cifar10", 93.0),
        ("cifar100", 70.0),
        ("digits", 93.0),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "lacks search_space"),
        (json.dumps({key: value for key, value in summary().items() if key != "seed"}), "lacks seed"),
        (json.dumps(summary(None, None, stages=summary()["stages"])), "neither evaluation.test_accuracy nor"),
        (json.dumps(summary(accuracy=97.0)), "a fraction between 0 and 1, not 97.0"),
        (json.dumps(summary(params="many")), "params is a whole number, not 'many'"),
        (json.dumps(summary(stages={"evaluation": {"folder": "x"}})), "lacks seconds"),
        (json.dumps(summary(stages={})), "neither a selection nor an evaluation"),
    ],
    ids=["cut off", "a list", "no seed", "no accuracy", "percent", "no number", "no seconds", "no stages"],
)
def test_names_a_summary_it_cannot_read_and_goes_on(content: str, reason: str, tmp_path: Path) -> None:
    _, broken = write(tmp_path, summary(0), summary(1))
    (broken / "summary.json").write_text(content)
    warnings: list[str] = []
    assert [result.seed for result in collect(tmp_path, warn=warnings.append)] == [0]
    (warning,) = warnings
    assert str(broken / "summary.json") in warning and reason in warning


def test_says_that_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        collect(tmp_path / "nowhere", warn=pytest.fail)
    with pytest.raises(FileNotFoundError, match=r"No finished run under .*: there is no summary\.json"):
        collect(tmp_path, warn=pytest.fail)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"none of the 1 summary\.json could be read"):
        collect(tmp_path, warn=lambda text: None)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        (("darts", "darts", "perturb", "retrain_cifar10", "cifar10"), "97.39 ± 0.08 (mean of 4 seeds, best 97.52)"),
        (("darts", "darts", "magnitude", "retrain_cifar10", "cifar10"), "97.00 ± 0.14 (mean of 4 seeds)"),
        (("darts", "fixed_alpha", "perturb", "retrain_cifar10", "cifar10"), "97.13 (mean of 4 seeds)"),
        (("s4", "darts", "perturb", "retrain_small", "cifar100"), "79.20 (best of 4 seeds)"),
        (("nasbench201", "darts", "perturb", "table", "cifar10"), "88.11 (the chosen cell)"),
        (("s2", "darts", "perturb", "retrain_small", "cifar10"), "None"),
        (("s2", "darts", "perturb", "none", "cifar10"), "None"),
        (("s2", "darts", "random", "retrain_cifar10", "cifar10"), "None"),
        (("s2", "darts", "perturb", "retrain_cifar10", "digits"), "None"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_the_paper_s_errors_are_accuracies_under_its_own_choices_alone(choices: tuple[str, ...], text: str) -> None:
    assert str(paper_number(Choices(*choices))) == text


def test_a_logger_gets_a_result_beside_the_papers_number_in_percent() -> None:
    assert comparison(summary(accuracy=0.9751)) == {
        "result/skip_share": 0.5,
        "result/test_accuracy": pytest.approx(97.51),
        "paper/test_accuracy": 97.21,
        "paper/of": "best of 4 seeds",
        "paper/lead": pytest.approx(0.30),
    }
    found = comparison(looked_up(0, 1, cifar10=88.0))
    assert (found["result/test_accuracy"], found["paper/test_accuracy"]) == (88.0, 88.11)
    assert comparison(summary(accuracy=0.5, data="digits")) == {"result/skip_share": 0.5, "result/test_accuracy": 50.0}
    assert comparison(summary(accuracy=None)) == {"result/skip_share": 0.5}
    assert comparison(summary(stages={})) == {}


def test_a_table_in_markdown_keeps_its_columns() -> None:
    assert markdown_table(("arch", "accuracy"), [["|none~0|", None], ["a", 0.5]]).splitlines() == [
        "| arch | accuracy |",
        "| --- | --- |",
        "| &#124;none~0&#124; |  |",
        "| a | 0.5 |",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (99.4, "99 s"), (99.6, "2 min"), (7200, "2.0 h")],
)
def test_a_time_is_short_and_never_nothing(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_runs_of_two_tasks_are_never_averaged_and_the_best_of_an_error_is_the_least(tmp_path: Path) -> None:
    found = row_of(tmp_path, summary(0, 0.9), regression(0, 12.5), summary(1, 0.7), regression(1, 2.5))
    assert [(row.metric.name, row.seeds, row.mean, row.best) for row in found] == [
        ("accuracy", [0, 1], pytest.approx(80.0), 90.0),
        ("mean_absolute_error", [0, 1], 7.5, 2.5),
    ]
    assert found[0].paper is not None and found[1].paper is None  # on the choices of one of the paper's numbers


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric_mode": "down"}, "metric_mode is max or min, not 'down'"),
        ({"metric": "a\x1b[2J"}, "metric is no name of at most 200 printable"),
        ({"task": 3}, "task is no name of at most 200 printable"),
        ({"costs.macs": "few"}, "costs.macs is a finite number, 0 or more, not 'few'"),
        ({"costs.latency_ms_batch1": float("nan")}, "costs.latency_ms_batch1 is a finite number"),
        ({"metric": "rmse"}, "neither evaluation.test_rmse nor evaluation.rank"),
    ],
)
def test_names_what_a_summary_of_another_task_says_wrongly(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    write(tmp_path, summary(0), regression(1, **changes))
    warnings: list[str] = []
    assert len(collect(tmp_path, warn=warnings.append)) == 1
    assert len(warnings) == 1 and reason in warnings[0]


def test_a_run_that_evaluated_nothing_has_costs_and_older_ones_their_parameters(tmp_path: Path) -> None:
    counted, old = row_of(tmp_path, summary(0, None, params=None, **costs()), summary(0, search_space="s3"))
    assert counted.costs["macs"] == 540_000_000 and counted.costs["params"] == 3_300_000
    assert old.costs["params"] == 3_300_000 and old.costs["macs"] is None


def test_a_logger_gets_an_error_under_its_own_name_and_beside_no_number_of_the_papers() -> None:
    assert comparison(regression(error=12.5)) == {
        "result/skip_share": 0.5,
        "result/test_mean_absolute_error": 12.5,
    }
