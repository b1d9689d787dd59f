"""What a run prints at its end, in the metric of its task."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.results.summaries import regression, summary

from archselect.pipeline.console import show_data, show_summary, tables
from archselect.tasks import Classification


def printed(content: dict[str, object]) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    for stage in content["stages"].values():  # type: ignore[attr-defined]
        stage["reused"] = False
    show_summary(console, content, Path("logs"), [])
    return console.export_text()


def test_a_result_is_told_in_percent_or_in_the_unit_of_an_error() -> None:
    accuracy = printed(summary(accuracy=0.9751) | {"search.val_accuracy": 0.5})
    assert "50.00 % validation accuracy" in accuracy and "test accuracy" in accuracy and "97.51 %" in accuracy
    others = {"search.val_mean_absolute_error": 20.0, "evaluation.test_r2": 0.25}
    error = printed(regression(error=12.3456) | others)
    assert "20.00 validation mean absolute error" in error and "12.35" in error
    assert "test mean absolute error" in error and "%" not in error
    assert "0.250 (0 is that of always answering the mean)" in error and "R²" not in accuracy


class Graded(Classification):
    def spread(self, data: Any) -> str:
        return "of five grades"


@pytest.mark.parametrize(
    ("task", "counts", "words"),
    [
        (Classification(), [2, 2], "4 training images of 2 classes (2 each), 8 x 8"),
        (Classification(), [1, 2000], "2,001 training images of 2 classes (a: 1, b: 2,000), 8 x 8"),
        (Classification(), [4, 5], "9 training images of 2 classes (4 to 5 each), 8 x 8"),
        (Classification(), [1, *[9] * 10], "91 training images of 11 classes (1 to 9 each), 8 x 8"),
        (Graded(), [2, 2], "4 training images of five grades, 8 x 8"),
    ],
)
def test_the_line_on_the_data_says_what_the_task_says_of_its_targets(
    task: Classification, counts: list[int], words: str
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    normalisation = SimpleNamespace(mean=[0.5], std=[0.5])
    data: Any = SimpleNamespace(name="own", train=SimpleNamespace(labels=labels), image_size=8, channels=3, notes=[])
    data.normalisation, data.is_measured, data.class_names = normalisation, False, "abcdefghijk"[: len(counts)]
    data.count_classes = lambda of: of.bincount().tolist()
    console = Console(record=True, file=io.StringIO())
    show_data(console, data, task)
    assert words in console.export_text()


def test_limits_are_told_in_the_unit_in_which_they_are_typed() -> None:
    macs, latency = {"most": 3e7, "of_network": 28123456}, {"most": 3.0, "of_network": 2.81235}
    limits = {"selection.limit": {"macs": macs, "latency_ms": latency}, "selection.limited_decisions": 1}
    said = printed(summary() | limits)
    assert "28,123,456 of 30,000,000 MACs" in said and "2.812 of 3 ms" in said
    assert "1 decision had fewer" in said
    assert "1,200 decisions had" in printed(summary() | limits | {"selection.limited_decisions": 1200})


def test_the_table_of_decisions_has_the_metric_under_its_name() -> None:
    stage = type("Stage", (), {"folder": type("Folder", (), {"read_lines": lambda self, name: [DECISION]})()})()
    (_, (_, columns, rows)) = tables(regression(), {"selection": stage})  # type: ignore[dict-item]
    assert dict(zip(columns, rows[0], strict=True))["mean_absolute_error"] == 12.5


DECISION = {
    "point": 0,
    "epoch": 0,
    "cell": "normal",
    "kind": "operation",
    "edge_states": [0, 2],
    "scores": [{"candidate": "skip_connect", "mean_absolute_error": 12.5, "loss": 1.0}],
    "kept": "skip_connect",
}
