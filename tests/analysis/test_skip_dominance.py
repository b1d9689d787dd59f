from pathlib import Path

import pytest
from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.analysis.skip_dominance import correlation, skip_lead
from archselect.analysis.stats import convolutions
from archselect.pipeline.finished_run import open_run

OPERATIONS = [["skip_connect", "sep_conv_3x3"], ["max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"]]


def test_the_lead_is_the_weight_of_the_skip_less_the_mean_of_the_convolutions() -> None:
    assert skip_lead([[0.7, 0.3, 0, 0], [0.1, 0.5, 0.1, 0.3]], OPERATIONS, convolutions()) == pytest.approx([0.4, 0.3])


def test_decided_and_dropped_edges_and_edges_without_both_have_no_lead() -> None:
    assert skip_lead([[1.0, 0.0], [0.1, 0.5, 0.1, 0.3]], OPERATIONS, convolutions()) == pytest.approx([0.3])
    assert skip_lead([[0.0, 0.0]], OPERATIONS[:1], convolutions()) == []
    assert skip_lead([[0.5, 0.5]], [["skip_connect", "max_pool_3x3"]], convolutions()) == []


def test_the_correlation_is_that_of_ranks() -> None:
    epochs = [{"val_accuracy": a, "lead": b} for a, b in ((0.1, 1.0), (0.2, 10.0), (0.9, 11.0))]
    assert correlation(epochs) == pytest.approx(1.0)
    assert correlation(epochs[:2]) is None
    assert correlation([{"val_accuracy": 0.1, "lead": 1.0}] * 5) is None


def test_every_epoch_of_a_run_has_its_lead(tiny_folder: Path) -> None:
    folder = analyze("analysis=skip_dominance", f"run={tiny_folder}")
    found = rows_of(folder / "skip_dominance.csv")
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    last = open_run(tiny_folder).history("search")[-1]
    every = [weight[0] - weight[1] for cell in last["alpha"].values() for weight in cell]
    assert float(found[-1]["lead"]) == pytest.approx(sum(every) / len(every))
    assert float(found[-1]["val_accuracy"]) == last["metrics"]["val_accuracy"]
    assert (folder / "skip_dominance.png").stat().st_size > 10_000
