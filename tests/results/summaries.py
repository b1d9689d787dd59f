"""Summaries of runs that never were."""

import json
from pathlib import Path
from typing import Any

GENOTYPE = "normal:2:skip_connect@0+sep_conv_3x3@1"


def summary(seed: int = 0, accuracy: float | None = 0.97, **changes: Any) -> dict[str, Any]:
    """Return a summary whose stages lie in folders named by the seed; without an accuracy nothing was evaluated."""
    seconds = {"search": 30.0, "selection": 600.0} | ({} if accuracy is None else {"evaluation": 9000.0})
    content: dict[str, Any] = {
        "search_space": "s2",
        "search": "darts",
        "selection": "perturb",
        "evaluation": "retrain_cifar10",
        "data": "cifar10",
        "seed": seed,
        "genotype": GENOTYPE,
        "params": 3_300_000,
        "stages": {kind: {"folder": f"{kind}-{seed}", "seconds": took} for kind, took in seconds.items()},
    }
    if accuracy is not None:
        content["evaluation.test_accuracy"] = accuracy
    return content | changes


def regression(seed: int = 0, error: float = 12.5, **changes: Any) -> dict[str, Any]:
    """Return a summary of a task whose metric is an error, on the choices of `summary`."""
    metric = {"task": "regression", "metric": "mean_absolute_error", "metric_mode": "min"}
    content = summary(seed, 0.5) | metric | {"evaluation.test_mean_absolute_error": error} | changes
    return {name: value for name, value in content.items() if name != "evaluation.test_accuracy"}


def costs(params: int = 3_300_000, macs: int = 540_000_000, latency: float = 4.5) -> dict[str, Any]:
    """Return what a summary says of costs."""
    return {
        "costs.params": params,
        "costs.macs": macs,
        "costs.peak_activation_bytes": 6_500_000,
        "costs.latency_ms_batch1": latency,
        "costs.latency_ms_batch64": 20 * latency,
    }


def looked_up(seed: int, rank: int, cifar10: float = 93.0, data: str = "cifar10") -> dict[str, Any]:
    stages = {"evaluation": {"folder": f"cell-{seed}", "seconds": 1.0}}
    content = summary(seed, None, search_space="nasbench201", evaluation="nasbench201", data=data, stages=stages)
    accuracies = {"evaluation.cifar10_test": cifar10, "evaluation.cifar100_test": 70.0}
    return content | accuracies | {"evaluation.rank": rank, "evaluation.of": 15625}


def write(folder: Path, *summaries: dict[str, Any]) -> list[Path]:
    """Write each into a run folder of its own; return those."""
    runs = []
    for content in summaries:
        runs.append(folder / f"run-{len(list(folder.glob('run-*')))}")
        runs[-1].mkdir(parents=True)
        (runs[-1] / "summary.json").write_text(json.dumps(content))
    return runs
