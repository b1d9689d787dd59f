"""Real runs of a regression and of several labels: what they print, their report and their page."""

from pathlib import Path

import pytest
from tests.command import Run, tiny, train
from tests.conftest import without_figures
from tests.reporting.conftest import Reader, read

pytestmark = pytest.mark.slow  # hand-written summaries say the same sooner

SMALL = ("search.epochs=1", "evaluation.epochs=1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return a regression with its pictures, and a run of several labels without."""
    logs = f"logs={tmp_path_factory.mktemp('tasks')}"
    overrides = [one for one in tiny("nasbench201", "darts", "perturb", logs, *SMALL) if not one.startswith("data=")]
    regression = train(*overrides, "task=regression", "data=digits_rotated", "selection.tuning.epochs_between=0")
    with without_figures():
        return [regression, train(*overrides, "task=multilabel", "data=digits_pairs", "selection=magnitude")]


def test_the_operation_is_kept_whose_removal_leaves_the_largest_error(runs: list[Run]) -> None:
    decisions = runs[0].decisions()
    for decision in decisions:
        scores = {score["candidate"]: score["mean_absolute_error"] for score in decision["scores"]}
        assert scores[decision["kept"]] == max(scores.values())
    assert len(decisions) == 6


def test_report_and_page_tell_each_task_apart_and_in_its_own_unit(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    logs = runs[0].stage("search").parents[2]
    page: Reader = read(logs)
    regression, multilabel = (run.summary for run in runs)
    error, share = regression["evaluation.test_mean_absolute_error"], multilabel["evaluation.test_label_accuracy"]
    printed = capsys.readouterr().out
    assert f"{100 * share:.2f}" in printed.split("Task regression")[0]
    assert f"{error:.4g}" in printed.split("Task regression: mean absolute error, lower is better")[1]
    assert "mean absolute error gained, full width:" in page.text and "points" not in page.text
    captions = {image["alt"] for image in page.all("img")}
    assert "Search: mean absolute error and loss of the supernet" in captions
    assert "Validation mean absolute error behind the decisions on operations, edge by edge" in captions
    assert "Test label accuracy against latency of a batch of 64: a point per run" in captions
    markdown = (Path(logs) / "report.md").read_text()
    assert "| MACs M |" in markdown and markdown.count("## Task ") == 2
