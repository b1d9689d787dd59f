"""One run's result beside the paper's number, for dashboards."""

from collections.abc import Mapping
from typing import Any

from archselect.reporting.results import Row, RunResult


def comparison(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run came to and what the paper has for its choices; accuracies in percent.

    Args:
        summary: Of the run, as in summary.json.

    Returns:
        `result/skip_share`, `result/test_accuracy` where something was evaluated, and where the paper has a number
        `paper/test_accuracy`, `paper/of` (what that number is) and `paper/lead` (the run's accuracy less the paper's).
    """
    if not {"selection", "evaluation"} & set(summary["stages"]):
        return {}
    result = RunResult.from_summary(summary)
    found: dict[str, Any] = {"result/skip_share": result.skip_share}
    if result.accuracy is not None:
        found["result/test_accuracy"] = result.accuracy
        paper = Row(result.choices, (result,)).paper
        if paper is not None:
            found |= {"paper/test_accuracy": paper.accuracy, "paper/of": paper.of}
            found["paper/lead"] = result.accuracy - paper.accuracy
    return found
