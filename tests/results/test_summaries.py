"""Finished runs are found, counted once, and gathered over their seeds."""

import json
from pathlib import Path
from typing import Any

import pytest

from archselect.genotype import PUBLISHED
from archselect.results.summaries import RunResult, collect, rows


def summary(seed: int = 0, accuracy: float | None = 0.97, **changes: Any) -> dict[str, Any]:
    """A run on S2 whose stages lie in folders named by the seed."""
    content: dict[str, Any] = {
        "name": "run",
        "search_space": "s2",
        "search": "darts",
        "selection": "perturb",
        "evaluation": "retrain_small",
        "data": "cifar100",
        "seed": seed,
        "genotype": "normal:2:skip_connect@0",
        "params": 3_000_000,
        "search.val_accuracy": 0.8,
        "stages": {
            "search": {"folder": f"stages/search/{seed}", "seconds": 60.0, "reused": False},
            "selection": {"folder": f"stages/selection/{seed}", "seconds": 120.0, "reused": False},
            "evaluation": {"folder": f"stages/evaluation/{seed}", "seconds": 7200.0, "reused": False},
        },
    }
    if accuracy is not None:
        content["evaluation.test_accuracy"] = accuracy
    return content | changes


def not_evaluated(seed: int) -> dict[str, Any]:
    content = summary(seed, accuracy=None, evaluation="none")
    del content["stages"]["evaluation"]
    return content


def looked_up(seed: int, rank: int, cifar10: float, data: str = "cifar10") -> dict[str, Any]:
    content = summary(seed, accuracy=None, search_space="nasbench201", evaluation="nasbench201", data=data)
    return content | {
        "evaluation.cifar10_test": cifar10,
        "evaluation.cifar100_test": 70.0,
        "evaluation.imagenet16_120_test": 45.0,
        "evaluation.rank": rank,
        "evaluation.of": 15625,
    }


def write(folder: Path, *summaries: dict[str, Any]) -> None:
    for index, content in enumerate(summaries):
        path = folder / "runs" / f"2026-01-{index:02d}" / "summary.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))


def collected(folder: Path, *summaries: dict[str, Any]) -> list[RunResult]:
    write(folder, *summaries)
    return collect(folder, warn=pytest.fail)


def test_averages_over_the_seeds_with_the_sample_standard_deviation(tmp_path: Path) -> None:
    (row,) = rows(collected(tmp_path, summary(0, 0.96), summary(1, 0.97), summary(2, 0.98, params=6_000_000)))

    assert row.seeds == [0, 1, 2]
    assert row.mean == pytest.approx(97.0)
    assert row.std == pytest.approx(1.0)  # the population's would be 0.816
    assert row.best == pytest.approx(98.0)
    assert row.parameters == 4_000_000
    assert [row.seconds(stage) for stage in ("search", "selection", "evaluation")] == [60, 120, 7200]


def test_a_single_result_has_no_standard_deviation(tmp_path: Path) -> None:
    (row,) = rows(collected(tmp_path, summary(3, 0.5)))

    assert (row.mean, row.std, row.best) == (50.0, None, 50.0)


def test_a_command_typed_twice_counts_once(tmp_path: Path) -> None:
    (row,) = rows(collected(tmp_path, summary(0, 0.9), summary(1, 0.8), summary(0, 0.9)))

    assert row.seeds == [0, 1]
    assert row.mean == pytest.approx(85.0)


def test_without_an_evaluation_the_selection_tells_repeats(tmp_path: Path) -> None:
    (row,) = rows(collected(tmp_path, not_evaluated(0), not_evaluated(0), not_evaluated(1)))

    assert row.seeds == [0, 1]
    assert (row.mean, row.std, row.best) == (None, None, None)
    assert row.seconds("evaluation") is None


def test_two_selections_that_end_with_one_evaluation_both_count(tmp_path: Path) -> None:
    found = rows(collected(tmp_path, summary(0), summary(0, selection="magnitude")))

    assert [row.choices.selection for row in found] == ["magnitude", "perturb"]


def test_two_seeds_that_look_up_one_cell_both_count(tmp_path: Path) -> None:
    first, second = looked_up(0, 11, 90.0), looked_up(1, 11, 90.0)
    second["stages"]["evaluation"]["folder"] = first["stages"]["evaluation"]["folder"]

    (row,) = rows(collected(tmp_path, first, second))
    assert row.seeds == [0, 1]


def test_marks_a_row_that_mixes_settings(tmp_path: Path) -> None:
    longer = summary(0, 0.99)
    longer["stages"]["evaluation"]["folder"] = "stages/evaluation/0-longer"

    mixed, clean = rows(collected(tmp_path, summary(0), longer, summary(0, search_space="s3")))
    assert mixed.mixes_settings
    assert not clean.mixes_settings


@pytest.mark.parametrize("choice", ["search_space", "search", "selection", "evaluation", "data"])
def test_every_choice_makes_a_row_of_its_own(choice: str, tmp_path: Path) -> None:
    assert len(rows(collected(tmp_path, summary(0), summary(1), summary(0) | {choice: "other"}))) == 2


def test_runs_that_were_given_their_genotype_are_told_apart_by_it(tmp_path: Path) -> None:
    def given(genotype: str, seed: int) -> dict[str, Any]:
        content = summary(seed, search=None, selection=None, genotype=genotype)
        content["stages"] = {"evaluation": {"folder": f"{genotype}-{seed}", "seconds": 1.0, "reused": False}}
        return content

    published, own = PUBLISHED["DARTS_V2"].to_text(), "normal:2:skip_connect@0"
    found = rows(collected(tmp_path, given(published, 0), given(published, 1), given(own, 0)))

    assert [(row.choices.search, len(row.results)) for row in found] == [("–", 2), ("–", 1)]
    assert found[0].choices.selection == "DARTS_V2"
    assert found[1].choices.selection.startswith("genotype ")


def test_takes_accuracy_and_rank_from_the_table(tmp_path: Path) -> None:
    (row,) = rows(collected(tmp_path, looked_up(0, rank=10, cifar10=93.0), looked_up(1, rank=30, cifar10=91.0)))

    assert row.mean == pytest.approx(92.0)
    assert row.ranks == [10, 30]
    assert row.of == 15625
    assert row.paper is not None
    assert row.paper.accuracy == 88.11


def test_takes_the_table_s_accuracy_on_the_row_s_own_data_where_it_has_them(tmp_path: Path) -> None:
    cifar100, digits = looked_up(0, 10, cifar10=93.0, data="cifar100"), looked_up(0, 10, cifar10=93.0, data="digits")

    assert [row.mean for row in rows(collected(tmp_path, cifar100, digits))] == [70.0, 93.0]


def test_puts_the_paper_s_number_beside_the_full_protocol_only(tmp_path: Path) -> None:
    small, full = rows(collected(tmp_path, summary(0), summary(0, evaluation="quick")))

    assert small.paper is None
    assert full.paper is not None
    assert full.paper.accuracy == 76.84  # S2 on CIFAR-100, error 23.16


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "lacks search_space"),
        (json.dumps({key: value for key, value in summary().items() if key != "seed"}), "lacks seed"),
        (json.dumps(summary(accuracy=None)), "neither evaluation.test_accuracy nor"),
        (json.dumps(summary(accuracy=97.0)), "a fraction between 0 and 1, not 97.0"),
        (json.dumps(summary(stages={"selection": {"folder": "x"}})), "lacks seconds"),
        (json.dumps(summary(stages={})), "neither a selection nor an evaluation"),
    ],
    ids=["cut off", "a list", "no seed", "no accuracy", "percent", "no seconds", "no stages"],
)
def test_names_a_summary_it_cannot_read_and_goes_on(content: str, reason: str, tmp_path: Path) -> None:
    write(tmp_path, summary(0))
    broken = tmp_path / "runs" / "broken" / "summary.json"
    broken.parent.mkdir()
    broken.write_text(content)
    warnings: list[str] = []

    results = collect(tmp_path, warn=warnings.append)

    assert [result.seed for result in results] == [0]
    assert len(warnings) == 1
    assert str(broken) in warnings[0]
    assert reason in warnings[0]


def test_says_that_no_run_has_finished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No finished run under .*: there is no summary\.json"):
        collect(tmp_path, warn=pytest.fail)


def test_says_that_no_summary_could_be_read(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"none of the 1 summary\.json could be read"):
        collect(tmp_path, warn=lambda text: None)


def test_says_that_the_folder_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        collect(tmp_path / "nowhere", warn=pytest.fail)
