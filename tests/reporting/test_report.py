"""The report as a user meets it: the command, its exit code, the table, the two files, what failed."""

import csv
import json
from pathlib import Path

import pytest
from tests.reporting.conftest import MakeRun
from tests.results.summaries import costs, looked_up, regression, summary, write

from archselect.reporting.report import main


def report(folder: Path) -> str:
    """Return the report.md on the runs in `folder`."""
    assert main([str(folder)]) == 0
    return (folder / "report.md").read_text(encoding="utf-8")


def table_of(markdown: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def csv_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_writes_one_row_per_method_for_reading(tmp_path: Path) -> None:
    write(tmp_path, summary(0, 0.971), summary(1, 0.973), summary(0, None, evaluation="none"))
    text = report(tmp_path)
    nothing, retrained = table_of(text)
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
    assert nothing["test accuracy %"] == nothing["paper %"] == "–"
    assert nothing["time: search + selection + evaluation"] == "30 s + 10 min + –"
    assert "not comparable" in text
    write(tmp_path / "alone", summary(data="digits"))
    assert "not comparable" not in report(tmp_path / "alone")  # there is no number of the paper's


def test_writes_plain_numbers_for_further_work_and_nothing_where_there_are_none(tmp_path: Path) -> None:
    scores = enumerate([0.96, 0.97, 0.98])
    write(tmp_path, *(summary(seed, accuracy, params=3_300_000 * (1 + seed)) for seed, accuracy in scores))
    write(tmp_path / "others", summary(0, None, data="digits"), summary(3, 0.5, search_space="s3"))
    report(tmp_path)
    row, nothing, single = csv_of(tmp_path)
    assert row["selection"] == "perturb"
    assert (row["n"], row["seeds"], row["mixes_settings"]) == ("3", "0 1 2", "False")
    names = ("test_accuracy_mean", "test_accuracy_std", "test_accuracy_best_of_n", "params_mean")
    assert [float(row[name]) for name in names] == pytest.approx([97.0, 1.0, 98.0, 6_600_000])  # the sample's spread
    assert [float(row[f"{stage}_seconds_mean"]) for stage in ("search", "selection", "evaluation")] == [30, 600, 9000]
    assert (row["paper_accuracy"], row["paper_std"], row["paper_of"]) == ("97.21", "", "best of 4 seeds")
    assert row["rank_mean"] == ""
    assert [nothing[name] for name in (*names[:3], "evaluation_seconds_mean")] == ["", "", "", ""]
    assert [single[name] for name in names[:3]] == ["50.0", "", "50.0"]


def test_shows_ranks_where_cells_were_looked_up(tmp_path: Path) -> None:
    write(tmp_path, looked_up(0, 10), looked_up(1, 31), summary(0))
    found, retrained = table_of(report(tmp_path))
    assert found["test accuracy %"] == "93.00 ± 0.00"
    assert found["mean rank (best)"] == "20.5 (10) of 15625"
    assert found["paper %"] == "88.11 (the chosen cell)"
    assert retrained["mean rank (best)"] == "–"


def test_shows_balanced_accuracies_where_some_classes_have_far_fewer_images(tmp_path: Path) -> None:
    names = ("evaluation.train_images_per_class", "evaluation.test_images_per_class")
    uneven, even = {name: [200, 40, 8] for name in names}, {name: [10, 10, 10] for name in names}
    score = "evaluation.test_balanced_accuracy"
    few = [summary(seed, 0.8, data="birds", **uneven, **{score: share}) for seed, share in enumerate([0.5, 0.6])]
    enough = summary(2, 0.9, **even, **{score: 0.9})
    write(tmp_path / "few", *few, enough)
    write(tmp_path / "enough", enough)

    text = report(tmp_path / "few")
    assert {row["data"]: row["balanced %"] for row in table_of(text)} == {"birds": "55.00", "cifar10": "90.00"}
    assert "mean over the classes" in text
    means = {row["data"]: float(row["test_balanced_accuracy_mean"]) for row in csv_of(tmp_path / "few")}
    assert means["birds"] == pytest.approx(55)
    assert "balanced" not in report(tmp_path / "enough")


def test_stars_a_row_that_mixes_settings(tmp_path: Path) -> None:
    longer = summary(0, 0.95) | {"stages": summary(7)["stages"]}
    write(tmp_path, summary(0, 0.9), longer, summary(0, search_space="s3"))
    text = report(tmp_path)
    assert [row["n (seeds)"] for row in table_of(text)] == ["2 (0,0)*", "1 (0)"]
    assert "different settings" in text


def test_writes_into_another_folder_on_request_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "runs", summary(0, 0.9))
    output = tmp_path / "new" / "report"
    assert main([str(tmp_path / "runs"), "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["report.csv", "report.md"]
    assert not list((tmp_path / "runs").glob("report.*"))
    printed = capsys.readouterr().out
    assert "90.00" in printed and f"Written: {output}/: report.md, report.csv\n" in printed


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_the_table_fits_the_terminal(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    write(tmp_path, looked_up(0, 10), looked_up(1, 31), summary(0, 0.971), summary(1, 0.973))
    report(tmp_path)
    table = capsys.readouterr().out.split("n: number of results")[0]
    assert max(map(len, table.splitlines())) <= columns
    for words in ("darts + perturb", "97.20 ± 0.14", "rank 20.5", "97.21", "10 min"):
        assert words in table


def test_warns_of_a_summary_it_cannot_read_and_fails_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, broken = write(tmp_path, summary(0), summary(1))
    (broken / "summary.json").write_text("{")
    report(tmp_path)
    assert "run-1/summary.json" in capsys.readouterr().err.replace("\n", "")
    assert main([str(broken)]) == 1
    assert "No finished run" in capsys.readouterr().err
    assert [path.name for path in broken.iterdir()] == ["summary.json"]


def write_failure(folder: Path, overrides: str, name: str = "failed.json", seed: int = 3) -> None:
    """Write what a run with these overrides leaves where it failed, or was refused."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(overrides)
    choices = {"search_space": "s2", "search": "darts", "selection": "random", "evaluation": "none", "data": "digits"}
    (folder / name).write_text(json.dumps({**choices, "seed": seed, "reason": "the disk <b>burnt</b>"}))


def test_a_failed_run_is_named_with_its_reason_everywhere_unless_its_overrides_worked_another_time(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs"
    write_failure(logs / "sweeps" / "0-mine", "- seed=3\n")
    write_failure(logs / "sweeps" / "1-mine", "- seed=4\n", "refused.json", seed=4)
    assert main([str(logs)]) == 1
    said = capsys.readouterr().err
    assert "No finished run" in said and "seed 3: the disk" in said
    again = (make_run().folder / ".hydra" / "overrides.yaml").read_text()
    write_failure(logs / "sweeps" / "2-mine", again, seed=5)
    assert main([str(logs), "--html", str(tmp_path / "report.html")]) == 0
    line = f"s2, darts + random, none, digits, seed 3: the disk <b>burnt</b> ({logs}/sweeps/0-mine)"
    assert line in capsys.readouterr().out
    line, markdown = line.replace("<", "&lt;"), (logs / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert f"## Failed runs\n\n- {line}\n" in markdown and line.replace(">", "&gt;") in page
    for text in (markdown, page):
        assert "seed 4: the disk" in text and "seed 5: the disk" not in text


def test_a_grid_shows_what_each_pair_came_to_and_numbers_the_reasons_of_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pair that was refused and worked another time shows its result, and no refusal is said twice."""
    write(tmp_path, summary(0, 0.9), summary(0, None, selection="random"))
    pairs = {"a": ("gdas", "random", "no"), "b": ("gdas", "magnitude", "never"), "c": ("darts", "magnitude", "no")}
    for name, (search, selection, reason) in ({"d": ("darts", "perturb", "slip")} | pairs).items():
        (tmp_path / name).mkdir()
        record = summary(search=search, selection=selection) | {"reason": reason}
        (tmp_path / name / "refused.json").write_text(json.dumps(record))
    text = report(tmp_path)
    assert [line for line in text[text.index("## Grid: s2, retrain_cifar10, cifar10") :].splitlines() if line] == [
        "## Grid: s2, retrain_cifar10, cifar10",
        "| search | magnitude | perturb | random |",
        "| --- | --- | --- | --- |",
        "| darts | refused (1) | 90.00 | decided |",
        "| gdas | refused (2) | – | refused (1) |",
        "- (1) no",
        "- (2) never",
        "## Failed runs",
        f"- s2, darts + perturb, retrain_cifar10, cifar10, seed 0: slip ({tmp_path}/d)",
    ]
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["darts", "(1)", "90.00", "✓"] in shown and ["gdas", "(2)", "·", "(1)"] in shown


def test_tasks_have_tables_of_their_own_in_their_own_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, summary(0, 0.9), regression(0, 12.5), regression(1, 2.5), regression(0, 3.0, search="gdas"))
    text = report(tmp_path)
    first, second = text.split("## Task regression: mean absolute error, lower is better")
    assert "## Task classification: accuracy, higher is better" in first
    (classified,), (darts, gdas) = table_of(first), table_of(second)
    assert classified["test accuracy %"] == "90.00" and "paper %" in classified
    assert (darts["test mean absolute error"], darts["best of n"]) == ("7.500 ± 7.071", "2.500")
    assert gdas["test mean absolute error"] == "3.000"
    assert not any("%" in title for title in darts if title != "skips %")
    lines = {row["search"]: row for row in csv_of(tmp_path) if row["task"] == "regression"}
    assert lines["darts"]["test_mean_absolute_error_best_of_n"] == "2.5" and lines["darts"]["metric_mode"] == "min"
    assert lines["darts"]["test_accuracy_mean"] == lines["darts"]["paper_accuracy"] == ""
    printed = capsys.readouterr().out
    assert printed.index("Task classification") < printed.index("90.00") < printed.index("Task regression")


def test_a_grid_is_of_one_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(search, selection) for search in ("darts", "gdas") for selection in ("perturb", "magnitude")]
    for number, (search, selection) in enumerate(pairs):
        write(tmp_path, regression(0, 10.0 + number, search=search, selection=selection))
        write(tmp_path, summary(0, 0.5 + number / 10, search=search, selection=selection))
    refused = summary(search="gdas", selection="random") | {"task": "regression", "reason": "no"}
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "refused.json").write_text(json.dumps(refused))
    first, second = report(tmp_path).split("Grid: ")[1:]
    assert "| darts | 60.00 | 50.00 |" in first and "refused" not in first
    assert "| darts | 11.00 | 10.00 | – |" in second and "| gdas | 13.00 | 12.00 | refused (1) |" in second
    assert "Mean test mean absolute error, ✓: decided" in " ".join(capsys.readouterr().out.split())


def test_costs_beside_results_parameters_and_macs_and_the_others_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    devices = {"costs.device": "cpu (one)"}, {"costs.device": "cpu (two)", "costs.disturbed": True}
    for seed, (macs, measured) in enumerate(zip((540_000_000, 560_000_000), devices, strict=True)):
        write(tmp_path, summary(seed, 0.9, **costs(macs=macs), **measured))
    (row,) = table_of(report(tmp_path))
    assert row["MACs M"] == "550.00" and "ms of 1" not in row
    assert main([str(tmp_path), "--costs"]) == 0
    (row,) = table_of((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert [row[name] for name in ("peak MB", "ms of 1", "ms of 64")] == ["6.50", "4.50", "90.00"]
    (numbers,) = csv_of(tmp_path)
    assert (numbers["macs_mean"], numbers["latency_ms_batch64_mean"]) == ("550000000.0", "90.0")
    printed = capsys.readouterr().out
    assert "550.00" in printed and "peak" in printed
    assert "so many images, on cpu (one) and on cpu (two); those of" in " ".join(printed.split())
    assert "other processes disturbed some" in " ".join(printed.split())
    assert max(map(len, printed.split("n: number of results")[0].splitlines())) <= 80
