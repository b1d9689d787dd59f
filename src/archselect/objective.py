"""What a search over options optimises: a validation score of a run, never one that has seen a test image."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from archselect.errors import RunError


def check_objective(config: DictConfig) -> None:
    """Check that the run will have `optimized_metric`, where one is named.

    Raises:
        RunError: It will not, or it is a test score.
    """
    metric = config.optimized_metric
    there = validation_scores(config)
    if metric is None or metric in there:
        return
    choices = f"This run will have {', '.join(there)}." if there else "This run will have no validation score."
    if "test" in str(metric) or "rank" in str(metric):  # the table ranks by test accuracy
        reason = "is a test score: what is chosen by it can no longer be judged by it"
    else:
        reason = "is no validation score of this run"
    if config.evaluation.get("validation_share") == 0:
        choices += (
            f" evaluation={config.evaluation.name} retrains on all images; evaluation.validation_share=0.1 holds a "
            "tenth of them out and adds evaluation.val_accuracy."
        )
    raise RunError(f"optimized_metric={metric} {reason}. {choices}")


def validation_scores(config: DictConfig) -> list[str]:
    """Return the validation scores that the summary of a run will have."""
    evaluation = config.evaluation
    scores = ["search.val_accuracy", "search.val_balanced_accuracy"] if config.genotype is None else []
    if evaluation.get("validation_share"):
        scores += [f"evaluation.val_{name}" for name in ("accuracy", "balanced_accuracy", "loss")]
    if "table" in evaluation:
        scores += [f"evaluation.{data}_valid" for data in ("cifar10", "cifar100", "imagenet16_120")]
    return scores


def lower_is_better(metric: str) -> bool:
    """Return whether a score is to be minimised."""
    return metric.endswith("loss")


def objective(config: DictConfig, summary: Mapping[str, Any]) -> float | None:
    """Return `optimized_metric` of a finished run; None where none is named."""
    return None if config.optimized_metric is None else float(summary[config.optimized_metric])
