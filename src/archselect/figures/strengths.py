"""What a perturbation-based selection saw: the supernet's metric with one operation, or one input of a node, masked.

The worse the metric, such as the accuracy, the stronger what was masked. The records are those of `decisions.jsonl`,
parsed. Selections that score nothing (by magnitude, at random) leave no scores to draw, which is a ValueError. Last,
what analyses draw: any quantities of the operations of every edge, as bars.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from archselect.figures import style
from archselect.figures.style import (
    BLUE,
    VERMILLION,
    Rows,
    Style,
    add_legend,
    cell_title,
    edge_name,
    legend_dot,
    new_figure,
    parts,
    styled,
    styles,
)
from archselect.results.metric import ACCURACY, Metric

_MOST_PANELS = 5  # side by side
_UNMASKED: dict[str, Any] = {"color": "0.45", "ls": "--", "lw": 1.0, "label": "nothing masked"}


class Dot(NamedTuple):
    """One value on a row of a panel, with its standard error if known; filled where the candidate was kept."""

    value: float
    row: int
    colour: str
    filled: bool
    error: float | None = None
    round: int | None = None


class Panel(NamedTuple):
    """One decision: the names of its rows from the top, its values, that with nothing masked if known."""

    cell: str
    title: str
    names: tuple[str, ...]
    dots: Sequence[Dot]
    unmasked: float | None = None


@styled
def draw_operation_strengths(decisions: Rows, metric: Metric = ACCURACY) -> Figure:
    """Draw, per edge in the order of decision, the metric of the task with each operation masked.

    Of a selection that trained a copy of the supernet with each operation instead, the metric of the copies.

    All edges of a cell type share one scale: so it is seen which edges matter, and how the metric drifts as more are
    decided.
    """
    scored = _scored(decisions, "operation")
    factor = metric.factor
    values = [{one["candidate"]: (factor * one[metric.name], None) for one in edge["scores"]} for edge in scored]
    panels = [
        panel._replace(unmasked=None if decision["unmasked"] is None else factor * decision["unmasked"][metric.name])
        for panel, decision in zip(_edge_panels(scored, values), scored, strict=True)
    ]
    title = f"{metric.title} of the supernet with one operation masked: {metric.worse} = stronger"
    if any(decision.get("trial") for decision in scored):
        what = "discretised to each operation and trained on"
        title = f"{metric.title} of the supernet {what}: {metric.better} = stronger"
    what, label = "edges (source,target) in the order of decision", f"validation {metric.label}"
    return _draw_panels(title, _kept_or_not(), panels, what, label, _narrowest(panels, metric))


@styled
def draw_topology_strengths(decisions: Rows, metric: Metric = ACCURACY) -> Figure:
    """Draw, per node in the order of decision, the metric of the task with each of its inputs masked.

    A node drops inputs round by round: in each the one whose removal leaves the best metric. All nodes of a cell type
    share one scale.
    """
    scored = _scored(decisions, "topology")
    panels = []
    for decision in scored:
        dots = []
        for score in decision["scores"]:
            kept = score["candidate"] in decision["kept"]
            row, colour = decision["candidates"].index(score["candidate"]), BLUE if kept else VERMILLION
            dots.append(Dot(metric.factor * score[metric.name], row, colour, kept, round=score["round"]))
        title = f"{decision['point'] + 1}.  node {decision['node']}"
        panels.append(Panel(decision["cell"], title, tuple(map(edge_name, decision["candidates"])), dots))
    rounds = 1 + max(score["round"] for decision in scored for score in decision["scores"])
    legend = [legend_dot("input kept", BLUE, filled=True), legend_dot("input dropped", VERMILLION, filled=False)]
    legend += [legend_dot(f"round {index + 1}", "0.2", False, _round_marker(index)) for index in range(rounds)]
    title = f"{metric.title} of the supernet with one input of a node masked: {metric.worse} = stronger"
    what, label = "nodes in the order of decision", f"validation {metric.label}"
    return _draw_panels(title, legend, panels, what, label, _narrowest(panels, metric))


def _narrowest(panels: Sequence[Panel], metric: Metric) -> float:
    """Return how wide a scale is at least: differences of accuracies far below 0.2 points are noise."""
    if metric.is_share:
        return 0.2
    return 2e-3 * max(abs(dot.value) for panel in panels for dot in panel.dots) or 1.0


@styled
def draw_strengths(decisions: Rows) -> Figure:
    """Draw, per edge, how strong the selection took each operation to be; the edges of a cell type share one scale."""
    ranked = [decision for decision in decisions if decision.get("strengths")]
    if not ranked:
        raise ValueError(f"None of these {len(decisions)} decision(s) carries the strengths of operations.")
    ordered = len({decision["point"] for decision in ranked}) > 1
    measured = [[(one["value"], one["standard_error"]) for one in edge["strengths"]] for edge in ranked]
    values = [dict(zip(edge["candidates"], own, strict=True)) for edge, own in zip(ranked, measured, strict=True)]
    title = "Strength of each operation for this selection: higher = stronger (bars: standard errors)"
    what = "edges (source,target)" + " in the order of decision" * ordered
    # What is equal up to rounding looks equal.
    narrowest = 1e-6 * max(abs(value) for own in measured for value, _ in own) or 1.0
    panels, label = _edge_panels(ranked, values, ordered), "strength, as the selection measures it"
    return _draw_panels(title, _kept_or_not(), panels, what, label, narrowest)


def _edge_panels(
    decisions: Rows, values: Sequence[Mapping[str, tuple[float, float | None]]], numbered: bool = True
) -> list[Panel]:
    """Return a panel per edge: the value and the standard error of each operation."""
    by_operation = style.styles(operation for decision in decisions for operation in decision["candidates"])
    panels = []
    for decision, own in zip(decisions, values, strict=True):
        names, number = tuple(decision["candidates"]), f"{decision['point'] + 1}.  " * numbered
        dots = [
            Dot(value, names.index(name), by_operation[name].colour, name == decision["kept"], error)
            for name, (value, error) in own.items()
        ]
        panels.append(Panel(decision["cell"], number + edge_name(decision["edge_states"]), names, dots))
    return panels


def _kept_or_not() -> list[Line2D]:
    return [legend_dot("kept", "0.2", filled=True), legend_dot("not kept", "0.2", filled=False)]


def _scored(decisions: Rows, kind: str) -> Rows:
    scored = [decision for decision in decisions if decision["kind"] == kind and decision["scores"]]
    if not scored:
        raise ValueError(
            f"Of these {len(decisions)} decision(s), none of the kind {kind!r} carries scores, so there are no "
            "strengths to draw. Only a selection by perturbation scores what it decides."
        )
    return scored


def _draw_panels(
    title: str, legend: list[Line2D], panels: Sequence[Panel], what: str, label: str, narrowest: float
) -> Figure:
    """Draw the panels of the cell types below one another, each type on one scale, `narrowest` wide at least."""
    groups = {cell: [one for one in panels if one.cell == cell] for cell in dict.fromkeys(one.cell for one in panels)}
    shapes = {cell: _shape(group) for cell, group in groups.items()}
    rows = {cell: max(len(panel.names) for panel in group) for cell, group in groups.items()}
    heights = [0.5 + lines * (0.5 + 0.16 * rows[cell]) for cell, (lines, _) in shapes.items()]
    figure, body = style.new_figure(title, 0.75 + sum(heights))
    unmasked = [Line2D([], [], **_UNMASKED)] if any(panel.unmasked is not None for panel in panels) else []
    style.add_legend(body, legend + unmasked)
    titles = [f"{style.cell_title(cell)}: {what}, on one scale" for cell in groups]
    for part, (cell, group) in zip(style.parts(body, titles, heights), groups.items(), strict=True):
        _draw_group(part, shapes[cell], group, narrowest)
        part.supxlabel(label, fontsize=8)
    return figure


def _shape(panels: Sequence[Panel]) -> tuple[int, int]:
    """Return lines and columns: fewer columns where panels have names of their own, and where these are long."""
    longest = max(len(name) for panel in panels for name in panel.names)
    most = _MOST_PANELS if _share_names(panels) else max(1, min(_MOST_PANELS - 1, 60 // (longest + 6)))
    lines = ceil(len(panels) / most)
    return lines, ceil(len(panels) / lines)


def _share_names(panels: Sequence[Panel]) -> bool:
    return len({panel.names for panel in panels}) == 1


def _draw_group(figure: SubFigure, shape: tuple[int, int], panels: Sequence[Panel], narrowest: float) -> None:
    grid = figure.subplots(*shape, sharex=True, sharey=_share_names(panels), squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    values = [panel.unmasked for panel in panels if panel.unmasked is not None]
    values += [dot.value + side * (dot.error or 0) for panel in panels for dot in panel.dots for side in (-1, 1)]
    grid[0].set_xlim(style.limits(values, narrowest))
    for index, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        axes.set(title=panel.title, ylim=(len(panel.names) - 0.4, -0.6))
        axes.set_yticks(range(len(panel.names)), panel.names)
        axes.tick_params(axis="y", length=0)
        if panel.unmasked is not None:
            axes.axvline(panel.unmasked, **_UNMASKED, zorder=1)
        for dot in panel.dots:
            _draw_dot(axes, dot)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        if index + shape[1] >= len(panels):  # nothing stands below
            axes.tick_params(labelbottom=True)


def _draw_dot(axes: Axes, dot: Dot) -> None:
    marker, size, edge = "o", 5.0, dot.colour
    if dot.round is not None:  # an input with one accuracy in several rounds is seen: later dots lie on larger ones,
        marker, size = _round_marker(dot.round), max(9.0 - 1.75 * dot.round, 5.5)
        edge = "white" if dot.filled else dot.colour  # and a white edge tells them apart
    face: dict[str, Any] = {"color": dot.colour, "mfc": dot.colour if dot.filled else "white", "mec": edge, "mew": 0.8}
    error = dot.error or None
    axes.errorbar(dot.value, dot.row, xerr=error, fmt=marker, ms=size, elinewidth=1.2, clip_on=False, **face)


def _round_marker(index: int) -> str:
    return "os^DvP"[index % 6]


_GROUP = 0.84
"""Share of an edge's room that its bars take."""


class Quantity(NamedTuple):
    """A column of the rows, drawn in the unit of its label: multiplied by `factor`.

    `error` names the column of its standard errors. The largest of an edge is marked, or the smallest.
    """

    column: str
    label: str
    factor: float = 1.0
    error: str | None = None
    smallest: bool = False


@styled
def draw_operation_bars(rows: Rows, title: str, quantities: Sequence[Quantity]) -> Figure:
    """Draw quantities, from above, of operations: rows have cell, edge, operation and the columns of the quantities."""
    by_cell = {cell: list(own) for cell, own in groupby(rows, key=lambda row: str(row["cell"]))}
    by_operation = styles(row["operation"] for row in rows)
    height = 0.6 + 1.05 * len(quantities)
    figure, body = new_figure(title, 0.75 + len(by_cell) * height)
    marked = {"smallest" if quantity.smallest else "largest" for quantity in quantities}
    label = f"{marked.pop() if len(marked) == 1 else 'preferred'} on its edge"
    mark = Line2D([], [], linestyle="", marker="v", color="0.15", markersize=5, label=label)
    add_legend(body, [*(Patch(**style.fill, label=name) for name, style in by_operation.items()), mark])
    found = parts(body, map(cell_title, by_cell), [height] * len(by_cell))
    for part, own in zip(found, by_cell.values(), strict=True):
        panels = part.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            _draw_bars(axes, own, by_operation, quantity)
        panels[-1].set_xlabel("edge (source,target)")
        part.align_ylabels()
    return figure


def _draw_bars(axes: Axes, rows: Rows, by_operation: Mapping[str, Style], quantity: Quantity) -> None:
    """Draw a group of bars per edge, and a mark over the preferred one."""
    by_edge = {edge: list(own) for edge, own in groupby(rows, key=lambda row: str(row["edge"]))}
    ends = [0.0]
    for position, own in enumerate(by_edge.values()):
        width = _GROUP / len(own)
        tops = []
        for index, row in enumerate(own):
            x = position + (index - (len(own) - 1) / 2) * width
            value = quantity.factor * row[quantity.column]
            error = quantity.factor * (row[quantity.error] or 0.0) if quantity.error else 0.0
            look = {"error_kw": {"ecolor": "0.15", "elinewidth": 0.9}, **by_operation[row["operation"]].fill}
            axes.bar(x, value, 0.92 * width, yerr=error or None, **look)
            tops.append((-value if quantity.smallest else value, x, max(value, 0) + error))
            ends += [value - error, value + error]
        _, x, end = max(tops, key=lambda top: top[0])
        axes.annotate("▼", (x, end), (0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=5)
    low, high = min(ends), max(ends)
    margin = 0.22 * (high - low) or 1.0  # above the marks
    axes.set(ylim=(low - 0.05 * (high - low) * (low < 0), high + margin), xlim=(-0.6, len(by_edge) - 0.4))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks(range(len(by_edge)), by_edge)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(quantity.label)
