"""Runs that regress or tell several labels, from the search to the test; runs from before there were tasks."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from tests.command import Run, tiny, train

from archselect import load_network, open_run
from archselect.tasks import Classification


@pytest.mark.slow
def test_a_regression_is_selected_retrained_and_tested_by_its_error(logs: str) -> None:
    run = train(*tiny("s2", "darts", "perturb", "search.epochs=1", "data=digits_rotated", "task=regression", logs))
    summary = run.summary
    assert (summary["task"], summary["metric"], summary["metric_mode"]) == ("regression", "mean_absolute_error", "min")
    decisions = [json.loads(line) for line in (run.stage("selection") / "decisions.jsonl").read_text().splitlines()]
    for decision in decisions:
        if decision["kind"] == "operation":  # the operation without which the error is largest
            errors = [score["mean_absolute_error"] for score in decision["scores"]]
            assert decision["kept"] == decision["candidates"][errors.index(max(errors))]
    assert summary["evaluation.test_mean_absolute_error"] == pytest.approx(error_of_the_network(run), rel=1e-4)
    assert 5 < summary["evaluation.test_mean_absolute_error"] < 45  # degrees; the targets lie within 60
    assert summary["evaluation.test_r2"] < 1
    assert not [name for name in summary if "accuracy" in name]


def error_of_the_network(run: Run) -> float:
    """Return the error in degrees on the test images, by hand: outputs are in standard deviations from the mean."""
    test, summary = open_run(run.folder).parts.data.test, run.summary
    network = load_network(run.folder)
    with torch.no_grad():
        outputs = network(network.normalize(test.images[:]))
    (mean,), (std,) = summary["evaluation.target_mean"], summary["evaluation.target_std"]
    return float((outputs * std + mean - test.labels).abs().mean())


@pytest.mark.slow
def test_several_labels_are_told_one_by_one(logs: str) -> None:
    run = train(*tiny("s2", "darts", "perturb", "data=digits_pairs", "task=multilabel", logs))
    summary = run.summary
    assert (summary["task"], summary["metric"], summary["metric_mode"]) == ("multilabel", "label_accuracy", "max")
    assert sum(summary["evaluation.test_images_per_label"]) <= 2 * len(open_run(run.folder).parts.data.test)
    assert len(summary["evaluation.test_average_precision_per_label"]) == 10
    assert 0 < summary["evaluation.test_mean_average_precision"] < 1


def test_a_run_from_before_there_were_tasks_is_one_of_classification(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_folder, folder, symlinks=True, ignore=shutil.ignore_patterns("analyses"))
    file = folder / ".hydra" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    del config["task"]
    config["selection"] |= {"operation_criterion": "accuracy", "topology_criterion": "loss"}
    file.write_text(yaml.safe_dump(config))
    parts = open_run(folder).parts
    assert parts.task == Classification()
    assert (parts.selection.operation_criterion, parts.selection.topology_criterion) == ("metric", "loss")  # type: ignore[attr-defined]
