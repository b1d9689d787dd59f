"""The report as a user meets it: the command, its exit code, the table, the two files."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from archselect.reporting.report import main

FULL = {"search_space": "s2", "search": "darts", "evaluation": "retrain_cifar10", "data": "cifar10"}


def write_summary(folder: Path, seed: int, accuracy: float | None, **changes: Any) -> None:
    stage = {"seconds": 30.0, "reused": False}
    content: dict[str, Any] = {
        **FULL,
        "selection": "perturb",
        "seed": seed,
        "genotype": "normal:2:skip_connect@0+sep_conv_3x3@1",
        "params": 3_300_000,
        "stages": {
            "search": {**stage, "folder": f"search-{seed}"},
            "selection": {**stage, "folder": f"selection-{seed}", "seconds": 600.0},
        },
    }
    if accuracy is not None:
        content["evaluation.test_accuracy"] = accuracy
        content["stages"]["evaluation"] = {**stage, "folder": f"evaluation-{seed}", "seconds": 9000.0}
    path = folder / f"run-{len(list(folder.iterdir()))}" / "summary.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content | changes))


def table_of(markdown: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_writes_one_row_per_method_for_reading(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.971, 0.973]):
        write_summary(tmp_path, seed, accuracy)
    write_summary(tmp_path, 0, None, evaluation="none")

    assert main([str(tmp_path)]) == 0

    nothing, retrained = table_of((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert retrained == {
        "search space": "s2",
        "search": "darts",
        "selection": "perturb",
        "evaluation": "retrain_cifar10",
        "data": "cifar10",
        "n (seeds)": "2 (0,1)",
        "test accuracy %": "97.20 ± 0.14",
        "best of n %": "97.30",
        "params M": "3.30",
        "skips %": "50",
        "time: search + selection + evaluation": "30 s + 10 min + 2.5 h",
        "paper %": "97.21 (best of 4 seeds)",
    }
    assert nothing["test accuracy %"] == "–"
    assert nothing["time: search + selection + evaluation"] == "30 s + 10 min + –"
    assert nothing["paper %"] == "–"


def test_says_that_small_runs_are_not_comparable_where_the_paper_s_number_stands(tmp_path: Path) -> None:
    write_summary(tmp_path, 0, 0.9)
    main([str(tmp_path)])
    assert "not comparable" in (tmp_path / "report.md").read_text(encoding="utf-8")

    write_summary(tmp_path, 0, 0.9, data="digits")
    (tmp_path / "run-0" / "summary.json").unlink()
    main([str(tmp_path)])
    assert "not comparable" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_writes_plain_numbers_for_further_work(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.96, 0.97, 0.98]):
        write_summary(tmp_path, seed, accuracy)

    main([str(tmp_path)])

    with (tmp_path / "report.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["selection"] == "perturb"
    assert (row["n"], row["seeds"], row["mixes_settings"]) == ("3", "0 1 2", "False")
    assert float(row["test_accuracy_mean"]) == pytest.approx(97.0)
    assert float(row["test_accuracy_std"]) == pytest.approx(1.0)
    assert float(row["test_accuracy_best_of_n"]) == pytest.approx(98.0)
    assert float(row["params_mean"]) == 3_300_000
    assert float(row["evaluation_seconds_mean"]) == 9000
    assert (row["paper_accuracy"], row["paper_std"], row["paper_of"]) == ("97.21", "", "best of 4 seeds")
    assert row["rank_mean"] == ""


def test_shows_ranks_where_cells_were_looked_up(tmp_path: Path) -> None:
    for seed, rank in enumerate([10, 31]):
        looked_up = {"evaluation.cifar10_test": 93.0, "evaluation.rank": rank, "evaluation.of": 15625}
        stages = {"evaluation": {"folder": f"cell-{seed}", "seconds": 1.0}}
        write_summary(
            tmp_path, seed, None, search_space="nasbench201", evaluation="nasbench201", stages=stages, **looked_up
        )
    write_summary(tmp_path, 0, 0.97)

    main([str(tmp_path)])

    looked_up_row, retrained = table_of((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert looked_up_row["test accuracy %"] == "93.00 ± 0.00"
    assert looked_up_row["mean rank (best)"] == "20.5 (10) of 15625"
    assert looked_up_row["paper %"] == "88.11 (the chosen cell)"
    assert retrained["mean rank (best)"] == "–"


def test_shows_balanced_accuracies_where_some_classes_have_far_fewer_images(tmp_path: Path) -> None:
    """The column is there for the first two runs, whose mean it shows; that of the third says nothing new."""
    counts = {"evaluation.train_images_per_class": [200, 40, 8], "evaluation.test_images_per_class": [10, 10, 10]}
    for seed, share in enumerate([0.5, 0.6]):
        write_summary(tmp_path, seed, 0.8, data="birds", **counts, **{"evaluation.test_balanced_accuracy": share})
    even = {name: [10, 10, 10] for name in counts}
    write_summary(tmp_path, 2, 0.9, **even, **{"evaluation.test_balanced_accuracy": 0.9})
    main([str(tmp_path)])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    rows = {row["data"]: row["balanced %"] for row in table_of(text)}
    assert set(rows.values()) == {"55.00", "90.00"} and rows["birds"] == "55.00"
    assert "mean over the classes" in text
    with (tmp_path / "report.csv").open(encoding="utf-8") as file:
        means = {row["data"]: float(row["test_balanced_accuracy_mean"]) for row in csv.DictReader(file)}
    assert means["birds"] == pytest.approx(55)

    for seed in range(2):
        (tmp_path / f"run-{seed}" / "summary.json").unlink()
    main([str(tmp_path)])
    assert "balanced" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_stars_a_row_that_mixes_settings(tmp_path: Path) -> None:
    write_summary(tmp_path, 0, 0.9)
    longer = {"selection": {"folder": "s", "seconds": 1.0}, "evaluation": {"folder": "other", "seconds": 1.0}}
    write_summary(tmp_path, 0, 0.95, stages=longer)

    main([str(tmp_path)])

    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert table_of(text)[0]["n (seeds)"] == "2 (0,0)*"
    assert "different settings" in text


def test_writes_into_another_folder_on_request(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    write_summary(runs, 0, 0.9)

    assert main([str(runs), "--output", str(tmp_path / "new" / "report")]) == 0

    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == ["report.csv", "report.md"]
    assert not list(runs.glob("report.*"))


def test_prints_the_table_and_where_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_summary(tmp_path, 0, 0.9)
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "90.00" in printed
    assert str(tmp_path / "report.md") in printed


def test_fails_with_the_reason_when_no_run_has_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "No finished run" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_warns_of_a_summary_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_summary(tmp_path, 0, 0.9)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")

    assert main([str(tmp_path)]) == 0
    assert "broken/summary.json" in capsys.readouterr().err.replace("\n", "")
