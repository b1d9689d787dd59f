"""How well predictors order the operations of an edge, with intervals, and what the operations are truly worth."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_legend, new_figure, parts, styled
from archselect.figures.dot_panels import dot_in_legend
from archselect.figures.palette import styles

Rows = Sequence[Mapping[str, Any]]

TITLES = {
    "true_mean": "the mean of all architectures",
    "true_best": "the best architecture",
    "true_conditional": "the run's other edges",
}
NAMES = {"alpha": "softmax(α)", "masking": "masking, nothing decided", "parameters": "number of parameters"}

_ROW, _PANEL = 0.17, 0.55  # inches of a predictor or an operation; of what surrounds them
_COLOUR = "#0072B2"


@styled
def draw_true_strength(strengths: Rows, correlations: Rows, what: str) -> Figure:
    """Draw tau with its intervals, a panel per truth, and below the truth of every operation.

    Args:
        strengths: edge, operation, true_mean and true_conditional, in percent.
        correlations: predictor, truth, tau, low, high; tau None where it is not defined.
        what: What the truth is, such as "CIFAR-10 test accuracy".
    """
    names = _ordered(correlations)
    operations = list(dict.fromkeys(row["operation"] for row in strengths))
    heights = [_PANEL + 0.2 + _ROW * len(names), _PANEL + 0.5 + _ROW * len(operations)]
    figure, body = new_figure(f"Do strengths order the operations of an edge as their {what} does?", 0.4 + sum(heights))
    titles = [
        "Kendall's tau-b with the accuracy given ... (95 % bootstrap interval over edges; open: it holds 0)",
        f"{what} of the operations on every edge (source,target)",
    ]
    above, below = parts(body, titles, heights)
    for axes, (truth, title) in zip(above.subplots(1, len(TITLES), sharey=True), TITLES.items(), strict=True):
        axes.set_title(title)
        _draw_correlations(axes, names, [row for row in correlations if row["truth"] == truth])
        axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    _draw_truths(below, strengths, operations)
    return figure


def _ordered(correlations: Rows) -> list[str]:
    """Return the predictors, that with the largest tau with the first truth first, undefined ones last."""
    first = [row for row in correlations if row["truth"] == next(iter(TITLES))]
    known = sorted((row for row in first if row["tau"] is not None), key=lambda row: row["tau"], reverse=True)
    return [row["predictor"] for row in [*known, *(row for row in first if row["tau"] is None)]]


def _draw_correlations(axes: Axes, names: Sequence[str], rows: Rows) -> None:
    axes.axvline(0, color="0.45", linewidth=1.1, zorder=1)
    for row in rows:
        y = names.index(row["predictor"])
        if row["tau"] is None:
            axes.text(0.03, y, "not defined", fontsize=7, color="0.4", va="center")
            continue
        unsure = row["low"] is None or row["low"] <= 0 <= row["high"]
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [y, y], color=_COLOUR, linewidth=1.5, zorder=2)
        face = "white" if unsure else _COLOUR
        axes.plot(row["tau"], y, "o", markersize=5.5, color=_COLOUR, markerfacecolor=face, zorder=3, clip_on=False)
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(len(names) - 0.2, -0.8)
    axes.set_xlabel("Kendall's tau-b")
    axes.tick_params(axis="y", length=0)


def _draw_truths(figure: SubFigure, strengths: Rows, operations: Sequence[str]) -> None:
    """Draw a panel per edge: the mean of all architectures, and each run's own with this operation in its place."""
    handles = [
        dot_in_legend("mean of all architectures with it", "0.3", filled=True),
        dot_in_legend("the run's architecture with it on this edge", "0.3", filled=False, marker="D"),
    ]
    (body,) = parts(figure, [""], [1])
    add_legend(body, handles)
    look = styles(operations)
    edges = list(dict.fromkeys(row["edge"] for row in strengths))
    panels = body.subplots(1, len(edges), sharex=True, sharey=True, squeeze=False)[0]
    for axes, edge in zip(panels, edges, strict=True):
        axes.set_title(edge)
        for row in strengths:
            if row["edge"] == edge:
                y, colour = operations.index(row["operation"]), look[row["operation"]].colour
                axes.plot(row["true_conditional"], y, "D", color=colour, markerfacecolor="none")
                axes.plot(row["true_mean"], y, "o", markersize=5.5, color=colour)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        axes.set_ylim(len(operations) - 0.4, -0.6)
        axes.set_yticks(range(len(operations)), operations)
        axes.tick_params(axis="y", length=0)
    body.supxlabel("accuracy (%)", fontsize=8)
