from typing import Any

import pytest
from pytorch_lightning.loggers.logger import DummyLogger

from archselect.pipeline.loggers import RunLog, flatten

SPACE = {"cells": {"cell": {"edges": [[0, 1]], "operations": [["skip_connect", "nor_conv_1x1"]]}}}


class Listener(DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.heard.append((step, metrics))


def heard() -> tuple[RunLog, Listener]:
    log, listener = RunLog(SPACE), Listener()
    log.start([listener], {})
    return log, listener


def record(epoch: int, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": 2.0, "metrics": {"train_loss": 0.5}, **more}


def test_numbers_are_named_by_stage_cell_edge_and_operation() -> None:
    whole = record(3, alpha={"cell": [[0.25, 0.75]]}, entropy={"cell": 0.56}, skip_share=0.0, genotype="not a number")
    assert dict(flatten(whole, SPACE)) == {
        "epoch": 3,
        "seconds": 2.0,
        "train_loss": 0.5,
        "entropy/cell": 0.56,
        "skip_share": 0.0,
        "alpha/cell/0-1/skip_connect": 0.25,
        "alpha/cell/0-1/nor_conv_1x1": 0.75,
    }


def test_steps_count_on_over_the_stages() -> None:
    log, listener = heard()
    for stage, epoch in (("search", 0), ("search", 1), ("evaluation", 0)):
        log.record(stage, record(epoch))
    assert [(step, [key for key in metrics if key.endswith("epoch")]) for step, metrics in listener.heard] == [
        (0, ["search/epoch"]),
        (1, ["search/epoch"]),
        (2, ["evaluation/epoch"]),
    ]


@pytest.mark.parametrize("again", [record(0), record(0, seconds=9.0)])
def test_an_epoch_that_is_made_again_after_a_kill_is_logged_once(again: dict[str, Any]) -> None:
    log, listener = heard()
    log.record("search", record(0))
    log.record("search", again)
    log.record("search", record(1))
    assert [step for step, _ in listener.heard] == [0, 1]
