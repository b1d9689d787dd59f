"""What a run prints at its end, in the metric of its task."""

import io
from pathlib import Path

from rich.console import Console
from tests.results.summaries import regression, summary

from archselect.pipeline.console import show_summary, tables


def printed(content: dict[str, object]) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    for stage in content["stages"].values():  # type: ignore[attr-defined]
        stage["reused"] = False
    show_summary(console, content, Path("logs"), [])
    return console.export_text()


def test_a_result_is_told_in_percent_or_in_the_unit_of_an_error() -> None:
    accuracy = printed(summary(accuracy=0.9751) | {"search.val_accuracy": 0.5})
    assert "50.00 % validation accuracy" in accuracy and "test accuracy" in accuracy and "97.51 %" in accuracy
    error = printed(regression(error=12.3456) | {"search.val_mean_absolute_error": 20.0})
    assert "20.00 validation mean absolute error" in error and "12.35" in error
    assert "test mean absolute error" in error and "%" not in error


def test_limits_are_told_in_the_unit_in_which_they_are_typed() -> None:
    macs, latency = {"most": 3e7, "of_network": 28123456}, {"most": 3.0, "of_network": 2.81235}
    limits = {"selection.limit": {"macs": macs, "latency_ms": latency}, "selection.limited_decisions": 1}
    said = printed(summary() | limits)
    assert "28,123,456 of 30,000,000 macs" in said and "2.812 of 3 ms" in said
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
