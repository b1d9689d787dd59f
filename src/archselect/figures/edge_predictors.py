"""Of some edges, what is said of each operation and what came true, side by side, as in Fig. 1 of DARTS-PT."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften
from archselect.figures.palette import Style, styles

Rows = Sequence[Mapping[str, Any]]

# Lengths in inches.
_LEFT, _PANEL, _GAP, _BAR, _ABOVE, _BELOW, _HEADER = 1.35, 2.75, 0.3, 0.24, 0.35, 0.3, 0.7

_COLUMNS = (
    ("alpha", "softmax(α)", 1.0),
    ("strength", "accuracy lost when masked (points)", 100.0),
    ("accuracy_at_convergence", "accuracy at convergence (%)", 100.0),
)


def draw_edge_predictors(rows: Rows, path: str | Path) -> Path:
    """Draw weight, strength and accuracy at convergence of the operations of some edges into the PNG `path`.

    Args:
        rows: One per operation: cell, edge, operation, alpha, strength, accuracy_at_convergence.
        path: Where to.
    """
    edges: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        edges.setdefault((row["cell"], row["edge"]), []).append(row)
    look = styles(row["operation"] for row in rows)
    heights = [_BAR * (len(own) + 0.4) for own in edges.values()]
    total = _HEADER + sum(_ABOVE + height + _BELOW for height in heights) + 0.3
    figure = new_figure(_LEFT + 3 * (_PANEL + _GAP), total)
    add_title(figure, 0.15, 0.12, "What predicts an operation's strength, and its accuracy after discretising")
    add_title(figure, 0.15, 0.45, "filled: the largest on its edge", size=9)
    top = _HEADER
    for (key, own), height in zip(edges.items(), heights, strict=True):
        for index, (column, label, factor) in enumerate(_COLUMNS):
            axes = add_panel(figure, _LEFT + index * (_PANEL + _GAP), top + _ABOVE, _PANEL, height)
            _draw_bars(axes, own, look, column, factor)
            if index == 0:
                axes.set_yticks(range(len(own)), [row["operation"] for row in own])
                axes.set_title(f"{key[0]} {key[1]}", fontsize=9.5, loc="left", pad=5, fontweight="bold")
            else:
                axes.set_yticks(range(len(own)), [""] * len(own))
            if own is list(edges.values())[-1]:
                axes.set_xlabel(label, fontsize=9)
        top += _ABOVE + height + _BELOW
    return save(figure, path)


def _draw_bars(axes: Axes, rows: Rows, look: Mapping[str, Style], column: str, factor: float) -> None:
    soften(axes)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    values = [factor * row[column] for row in rows]
    best = values.index(max(values))
    from_zero = column != "accuracy_at_convergence"  # there differences count, not sizes: dots, not bars
    for position, (row, value) in enumerate(zip(rows, values, strict=True)):
        colour = look[row["operation"]].colour
        face = colour if position == best else "white"
        if from_zero:
            axes.barh(position, value, 0.7, facecolor=face, edgecolor=colour)
        else:
            axes.plot(value, position, "o", markersize=7, color=colour, markerfacecolor=face, clip_on=False)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = max(high - low, 0.4 if factor > 1 else 1e-3)
    axes.set_xlim(low - (0.0 if from_zero and low == 0 else 0.12 * spread), max(high, low + spread) + 0.08 * spread)
