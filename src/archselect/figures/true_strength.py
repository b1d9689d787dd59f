"""How well predictors order the operations of an edge, with intervals, and what the operations are truly worth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften
from archselect.figures.dot_panels import dot_in_legend
from archselect.figures.palette import styles

Rows = Sequence[Mapping[str, Any]]

TITLES = {
    "true_mean": "with the mean of all architectures",
    "true_best": "with the best architecture",
    "true_conditional": "with the run's other edges",
}
NAMES = {"alpha": "softmax(α)", "masking": "masking, nothing decided", "parameters": "number of parameters"}

# Lengths in inches.
_LEFT, _WIDTH, _GAP, _ROW, _RIGHT = 2.35, 2.5, 0.3, 0.27, 0.25
_TOP, _BETWEEN = 0.95, 1.5
_EDGE_LEFT, _EDGE_GAP, _EDGE_ROW = 1.25, 0.17, 0.26
_COLOUR = "#0072B2"


def draw_true_strength(strengths: Rows, correlations: Rows, path: str | Path, what: str) -> Path:
    """Draw tau with its intervals, a panel per truth, and below the truth of every operation, into the PNG `path`.

    Args:
        strengths: edge, operation, true_mean and true_conditional, in percent.
        correlations: predictor, truth, tau, low, high; tau None where it is not defined.
        path: Where to.
        what: What the truth is, such as "CIFAR-10 test accuracy".
    """
    names = _ordered(correlations)
    operations = list(dict.fromkeys(row["operation"] for row in strengths))
    above, below = _ROW * (len(names) + 0.6), _EDGE_ROW * (len(operations) + 0.6)
    width = _LEFT + 3 * _WIDTH + 2 * _GAP + _RIGHT
    figure = new_figure(width, _TOP + above + _BETWEEN + below + 0.55)
    add_title(figure, 0.15, 0.12, f"Do strengths order the operations of an edge as their {what} does?")
    note = "Kendall's tau-b, mean over the edges, 95 % bootstrap interval; open: the interval holds 0"
    figure.text(0.15 / width, 1 - 0.42 / figure.get_size_inches()[1], note, fontsize=9, va="top", color="0.3")
    for index, (truth, title) in enumerate(TITLES.items()):
        axes = add_panel(figure, _LEFT + index * (_WIDTH + _GAP), _TOP, _WIDTH, above)
        axes.set_title(title, fontsize=9, loc="left", pad=4)
        _draw_correlations(axes, names, [row for row in correlations if row["truth"] == truth])
        axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names] if index == 0 else [])
    top = _TOP + above + _BETWEEN
    add_title(figure, 0.15, top - 0.92, f"{what} of the operations on every edge (source,target)", size=11)
    _draw_truths(figure, strengths, operations, (top, below, width))
    return save(figure, path)


def _ordered(correlations: Rows) -> list[str]:
    """Return the predictors, that with the largest tau with the first truth first, undefined ones last."""
    first = [row for row in correlations if row["truth"] == next(iter(TITLES))]
    known = sorted((row for row in first if row["tau"] is not None), key=lambda row: row["tau"], reverse=True)
    return [row["predictor"] for row in [*known, *(row for row in first if row["tau"] is None)]]


def _draw_correlations(axes: Axes, names: Sequence[str], rows: Rows) -> None:
    soften(axes)
    axes.axvline(0, color="0.45", linewidth=1.1, zorder=1)
    for row in rows:
        y = names.index(row["predictor"])
        if row["tau"] is None:
            axes.text(0.03, y, "not defined", fontsize=7.5, color="0.4", va="center")
            continue
        unsure = row["low"] is None or row["low"] <= 0 <= row["high"]
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [y, y], color=_COLOUR, linewidth=1.5, zorder=2)
        face = "white" if unsure else _COLOUR
        axes.plot(row["tau"], y, "o", markersize=6.5, color=_COLOUR, markerfacecolor=face, zorder=3, clip_on=False)
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(len(names) - 0.2, -0.8)
    axes.set_xlabel("Kendall's tau-b", fontsize=8.5)
    axes.tick_params(axis="y", length=0)


def _draw_truths(figure: Figure, strengths: Rows, operations: Sequence[str], place: tuple[float, float, float]) -> None:
    """Draw a panel per edge: the mean of all architectures, and each run's own with this operation in its place."""
    top, height, width = place
    look = styles(operations)
    edges = list(dict.fromkeys(row["edge"] for row in strengths))
    pitch = (width - _EDGE_LEFT - 0.1) / len(edges)
    everything = [row[truth] for row in strengths for truth in ("true_mean", "true_conditional")]
    margin = 0.06 * (max(everything) - min(everything)) or 1.0
    for index, edge in enumerate(edges):
        axes = add_panel(figure, _EDGE_LEFT + index * pitch, top, pitch - _EDGE_GAP, height)
        soften(axes)
        axes.set_title(edge, fontsize=9, loc="left", pad=4)
        for row in strengths:
            if row["edge"] == edge:
                y, colour = operations.index(row["operation"]), look[row["operation"]].colour
                axes.plot(row["true_conditional"], y, "D", markersize=5, color=colour, markerfacecolor="none")
                axes.plot(row["true_mean"], y, "o", markersize=6.5, color=colour)
        axes.set_xlim(min(everything) - margin, max(everything) + margin)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        axes.set_ylim(len(operations) - 0.2, -0.8)
        axes.set_yticks(range(len(operations)), operations if index == 0 else [])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("accuracy (%)", fontsize=8.5)
    handles = [
        dot_in_legend("mean of all architectures with it", "0.3", filled=True),
        dot_in_legend("the run's architecture with it on this edge", "0.3", filled=False, marker="D"),
    ]
    anchor = (0.0, 1 - (top - 0.68) / figure.get_size_inches()[1])
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, ncols=2, frameon=False, fontsize=9)
