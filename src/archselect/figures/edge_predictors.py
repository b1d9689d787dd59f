"""Of some edges, what is said of each operation and what came true, side by side, as in Fig. 1 of DARTS-PT."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_legend, new_figure, styled
from archselect.figures.palette import Style, styles

Rows = Sequence[Mapping[str, Any]]

_BAR, _PANEL = 0.17, 0.45  # inches of an operation; of what surrounds those of an edge

_COLUMNS = (
    ("alpha", "softmax(α)", 1.0),
    ("strength", "accuracy lost when masked (points)", 100.0),
    ("accuracy_at_convergence", "accuracy at convergence (%)", 100.0),
)


@styled
def draw_edge_predictors(rows: Rows) -> Figure:
    """Draw weight, strength and accuracy at convergence of the operations of some edges.

    Args:
        rows: One per operation: cell, edge, operation, alpha, strength, accuracy_at_convergence.
    """
    edges: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        edges.setdefault((row["cell"], row["edge"]), []).append(row)
    look = styles(row["operation"] for row in rows)
    heights = [_PANEL + _BAR * len(own) for own in edges.values()]
    title = "What predicts an operation's strength, and its accuracy after discretising"
    figure, body = new_figure(title, 0.8 + sum(heights))
    add_legend(body, [_square("the largest on its edge", "0.2"), _square("not the largest", "white")])
    grid = body.subplots(len(edges), len(_COLUMNS), squeeze=False, height_ratios=heights)
    for panels, ((cell, edge), own) in zip(grid, edges.items(), strict=True):
        for axes, (column, _, factor) in zip(panels, _COLUMNS, strict=True):
            _draw_bars(axes, own, look, column, factor)
            axes.set_yticks(range(len(own)), [row["operation"] for row in own] if axes is panels[0] else [])
        panels[0].set_title(f"{cell} {edge}", fontweight="bold")
    for axes, (_, label, _) in zip(grid[-1], _COLUMNS, strict=True):
        axes.set_xlabel(label)
    return figure


def _square(label: str, face: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="s", color="0.2", markerfacecolor=face, label=label)


def _draw_bars(axes: Axes, rows: Rows, look: Mapping[str, Style], column: str, factor: float) -> None:
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
            axes.plot(value, position, "o", markersize=5.5, color=colour, markerfacecolor=face, clip_on=False)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = max(high - low, 0.4 if factor > 1 else 1e-3)
    axes.set_xlim(low - (0.0 if from_zero and low == 0 else 0.12 * spread), max(high, low + spread) + 0.08 * spread)
