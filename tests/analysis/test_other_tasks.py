"""Analyses of a task that is judged by an error: its words, its unit, and which way is better."""

from types import SimpleNamespace
from typing import Any

import pytest

from archselect.analysis import (
    DiscretizationAccuracy,
    Landscape,
    OperationStrength,
    Seeds,
    SelectionCurve,
    Shuffle,
    SkipDominance,
    Trajectory,
    TrueStrength,
)
from archselect.analysis.base import METRIC, Analysis, Tables, check_same_metric
from archselect.analysis.claims import Evidence
from archselect.results.metric import Metric

ERROR: dict[str, Any] = {METRIC: [{"name": "mean_absolute_error", "mode": "min"}]}
VAL = "val_mean_absolute_error"
EDGE = {"cell": "normal", "edge": "(0,2)"}


def without_options(kind: type[Analysis], **options: Any) -> Any:
    """Return an analysis that only draws and summarises what was measured."""
    analysis = object.__new__(kind)
    for name, value in options.items():
        object.__setattr__(analysis, name, value)
    return analysis


def operations(strengths: dict[str, float], errors: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            **EDGE,
            "operation": name,
            "alpha": 1 / len(strengths),
            "strength": strength,
            "standard_error": 0.25,
            "mean_absolute_error_at_convergence": errors[name],
        }
        for name, strength in strengths.items()
    ]


ROWS = operations({"skip_connect": 0.5, "sep_conv_3x3": 2.0}, {"skip_connect": 12.0, "sep_conv_3x3": 10.0})
TABLES: dict[str, tuple[Any, Tables, list[str]]] = {
    "operation_strength": (
        without_options(OperationStrength, criterion="metric"),
        {"operations": ROWS},
        ["standard error of 0.25 on average"],
    ),
    "discretization_accuracy": (
        without_options(DiscretizationAccuracy, training=SimpleNamespace(epochs=2)),
        {"operations": ROWS},
        # The operation with the least error is the one whose removal harms most; the order by both is one.
        ["the best mean absolute error", "perturbation on 1 of 1", "perturbation +1.00", "rises by 2.000 on average"],
    ),
    "selection_curve": (
        without_options(SelectionCurve),
        {
            "epochs": [
                {"selection": name, "epoch": epoch, VAL: value, "edges_decided": epoch, "nodes_decided": 0}
                for name, values in {"perturb_magnitude": (20.0, 16.0), "perturb": (20.0, 12.0)}.items()
                for epoch, value in enumerate(values)
            ]
        },
        ["at 20.00 validation mean absolute error", "at 12.00 with perturb (mean over its epochs 16.00), 16.00 with"],
    ),
    "skip_dominance": (
        without_options(SkipDominance),
        {"epochs": [{"epoch": n, VAL: 20.0 - n, "lead": n / 10} for n in range(1, 5)]},
        ["went from 19.00 to 16.00 (best 16.00)", "is -1.00 (below 0 where the lead grows"],
    ),
    "landscape": (
        without_options(Landscape),
        {
            "plane": [{"x": x, "y": y, "mean_absolute_error": 5.0 + x * x} for x in (-1, 0, 1) for y in (-1, 0, 1)],
            "eigenvalues": [{"epoch": 1, "eigenvalue": 0.5}],
        },
        ["mean absolute error is 5.000 in the middle of the plane and 6.000 at its worst point"],
    ),
    "trajectory": (
        Trajectory(),
        {
            "choices": [
                {"epoch": n, "selection": "perturb", VAL: 20.0 - n, "skip_share": 0.5, "test_mean_absolute_error": n}
                for n in (1, 2)
            ],
            "selections": [],
        },
        ["goes from 19.00 to 18.00", "test mean absolute error from 1.000 to 2.000 (mean 1.500)"],
    ),
    "seeds": (
        Seeds(),
        {
            "mean_absolute_error": [
                {"selection": "perturb", "seed": n, "skips": n, "mean_absolute_error": 9.0 - n, "judged": "retrain"}
                for n in range(3)
            ],
            "frequencies": [{"selection": "perturb", **EDGE, "operation": "skip_connect", "share": 1.0, "runs": 3}],
            "agreement": [{"one": "perturb", "other": "perturb", "given": "x", "share": 1.0, "pairs": 3}],
        },
        ["number of skips with test mean absolute error (retrain) is -1.00"],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_an_error_is_told_in_its_words_and_unit_and_less_is_better(name: str) -> None:
    analysis, tables, words = TABLES[name]
    summary, figure = analysis.summary({**tables, **ERROR}), analysis.draw({**tables, **ERROR})
    texts = [text.get_text() for part in figure.findobj(lambda one: hasattr(one, "get_text")) for text in [part]]
    for expected in words:
        assert expected in summary
    assert any("mean absolute error" in text for text in texts)
    said = summary.replace("share of skips from 50 % to 50 %", "").replace("100 % of the edges", "")
    assert "accuracy" not in f"{said} {texts}" and "%" not in said and "points" not in f"{said} {texts}"


def runs(*metrics: Metric) -> list[Any]:
    return [
        SimpleNamespace(folder=number, summary={"task": "t", "metric": one.name, "metric_mode": one.mode})
        for number, one in enumerate(metrics)
    ]


def test_refuses_what_only_classification_has_and_runs_of_two_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Metric("mean_absolute_error", "min")
    with pytest.raises(ValueError, match=r"analysis=shuffle trains networks that classify, .*the run 0 has task=t"):
        without_options(Shuffle, name="shuffle").check(runs(error))
    with pytest.raises(ValueError, match=r"judged by mean absolute error. Name a run with task=classification"):
        without_options(TrueStrength, name="true_strength").check(runs(Metric(), error))
    with pytest.raises(ValueError, match="0 is told in accuracy and 1 in mean absolute error"):
        check_same_metric("seeds", runs(Metric(), error))
    monkeypatch.setattr("archselect.analysis.claims.find_runs", lambda folder: ["a"])
    monkeypatch.setattr("archselect.analysis.claims.open_run", lambda path: runs(error)[0])
    with pytest.raises(ValueError, match="judges what the paper claims of classification"):
        _ = Evidence("folder").runs  # type: ignore[arg-type]
