"""What a perturbation-based selection saw: the supernet's accuracy with one operation, or one input of a node, masked.

The lower the accuracy, the stronger what was masked. The records are those of `decisions.jsonl`, parsed. Selections
that score nothing (by magnitude, at random) leave no scores to draw.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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

Decision = Mapping[str, Any]

_MOST_PANELS = 5  # side by side
_NARROWEST_RANGE = 0.2  # of a scale of accuracies, in percentage points: differences far below it are noise
_UNMASKED: dict[str, Any] = {"color": "0.45", "ls": "--", "lw": 1.0, "label": "nothing masked"}
_SIZE = 5.0
_ROUND_MARKERS = ("o", "s", "^", "D", "v", "P")
_ACCURACY = "validation accuracy (%)"


class Dot(NamedTuple):
    """One value on a row of a panel, with its standard error if known; filled where the candidate was kept."""

    value: float
    row: int
    colour: str
    filled: bool
    marker: str = "o"
    size: float = _SIZE
    error: float | None = None


class Panel(NamedTuple):
    """One decision: the names of its rows from the top, its values, that with nothing masked if known."""

    title: str
    names: tuple[str, ...]
    dots: Sequence[Dot]
    unmasked: float | None = None


@styled
def draw_operation_strengths(decisions: Sequence[Decision]) -> Figure:
    """Draw, per edge in the order of decision, the accuracy with each operation masked.

    Of a selection that trained a copy of the supernet with each operation instead, the accuracy of the copies.

    All edges of a cell type share one scale: so it is seen which edges matter, and how the accuracy drifts as more are
    decided.

    Raises:
        ValueError: No decision on an operation carries scores.
    """
    scored = _scored(decisions, "operation")
    by_operation = styles(operation for decision in scored for operation in decision["candidates"])

    def panel(decision: Decision) -> Panel:
        values = {score["candidate"]: (100 * score["accuracy"], None) for score in decision["scores"]}
        unmasked = None if decision["unmasked"] is None else 100 * decision["unmasked"]["accuracy"]
        return _operation_panel(decision, by_operation, values, unmasked)

    legend = _kept_or_not()
    if any(decision["unmasked"] is not None for decision in scored):
        legend.append(Line2D([], [], **_UNMASKED))
    title = "Accuracy of the supernet with one operation masked: lower = stronger"
    if any(decision.get("trial") for decision in scored):
        title = "Accuracy of the supernet discretised to each operation and trained on: higher = stronger"
    what = "edges (source,target) in the order of decision"
    return _draw_panels(title, legend, _by_cell(scored, what, panel), _ACCURACY)


@styled
def draw_topology_strengths(decisions: Sequence[Decision]) -> Figure:
    """Draw, per node in the order of decision, the accuracy with each of its inputs masked.

    A node drops inputs round by round: in each the one whose removal leaves the highest accuracy. All nodes of a cell
    type share one scale.

    Raises:
        ValueError: No decision on the inputs of a node carries scores.
    """
    scored = _scored(decisions, "topology")
    rounds = 1 + max(score["round"] for decision in scored for score in decision["scores"])
    legend = [
        legend_dot("input kept", BLUE, filled=True),
        legend_dot("input dropped", VERMILLION, filled=False),
        *(legend_dot(f"round {index + 1}", "0.2", False, _round_marker(index)) for index in range(rounds)),
    ]
    title = "Accuracy of the supernet with one input of a node masked: lower = stronger"
    groups = _by_cell(scored, "nodes in the order of decision", _topology_panel)
    return _draw_panels(title, legend, groups, _ACCURACY)


def _topology_panel(decision: Decision) -> Panel:
    dots = [
        Dot(
            value=100 * score["accuracy"],
            row=decision["candidates"].index(score["candidate"]),
            colour=BLUE if score["candidate"] in decision["kept"] else VERMILLION,
            filled=score["candidate"] in decision["kept"],
            marker=_round_marker(score["round"]),
            size=max(9.0 - 3.0 * score["round"], 3.0),  # so that an input with one accuracy in several rounds is seen
        )
        for score in decision["scores"]
    ]
    names = tuple(map(edge_name, decision["candidates"]))
    return Panel(f"{decision['point'] + 1}.  node {decision['node']}", names, dots)


@styled
def draw_strengths(decisions: Sequence[Decision]) -> Figure:
    """Draw, per edge, how strong the selection took each operation to be; the edges of a cell type share one scale.

    Raises:
        ValueError: No decision carries strengths.
    """
    ranked = [decision for decision in decisions if decision.get("strengths")]
    if not ranked:
        raise ValueError(f"None of these {len(decisions)} decision(s) carries the strengths of operations.")
    by_operation = styles(operation for decision in ranked for operation in decision["candidates"])
    ordered = len({decision["point"] for decision in ranked}) > 1

    def panel(decision: Decision) -> Panel:
        values = [(strength["value"], strength["standard_error"]) for strength in decision["strengths"]]
        named = dict(zip(decision["candidates"], values, strict=True))
        return _operation_panel(decision, by_operation, named, numbered=ordered)

    title = "Strength of each operation for this selection: higher = stronger (bars: standard errors)"
    groups = _by_cell(ranked, "edges (source,target)" + " in the order of decision" * ordered, panel)
    largest = max(abs(strength["value"]) for decision in ranked for strength in decision["strengths"])
    # What is equal up to rounding looks equal.
    return _draw_panels(title, _kept_or_not(), groups, "strength, as the selection measures it", 1e-6 * largest or 1.0)


def _operation_panel(
    decision: Decision,
    by_operation: Mapping[str, Style],
    values: Mapping[str, tuple[float, float | None]],
    unmasked: float | None = None,
    numbered: bool = True,
) -> Panel:
    """Return the panel of an edge: the value and the standard error of each operation."""
    names = tuple(decision["candidates"])
    dots = [
        Dot(value, names.index(name), by_operation[name].colour, name == decision["kept"], error=error)
        for name, (value, error) in values.items()
    ]
    number = f"{decision['point'] + 1}.  " if numbered else ""
    return Panel(number + edge_name(decision["edge_states"]), names, dots, unmasked)


def _kept_or_not() -> list[Line2D]:
    return [legend_dot("kept", "0.2", filled=True), legend_dot("not kept", "0.2", filled=False)]


def _scored(decisions: Sequence[Decision], kind: str) -> list[Decision]:
    scored = [decision for decision in decisions if decision["kind"] == kind and decision["scores"]]
    if not scored:
        raise ValueError(
            f"Of these {len(decisions)} decision(s), none of the kind {kind!r} carries scores, so there are no "
            "strengths to draw. Only a selection by perturbation scores what it decides."
        )
    return scored


def _by_cell(decisions: Rows, what: str, panel: Callable[[Decision], Panel]) -> dict[str, list[Panel]]:
    """Return the panels of each cell type under its title."""
    cells = dict.fromkeys(decision["cell"] for decision in decisions)
    return {
        f"{cell_title(cell)}: {what}, on one scale": [panel(one) for one in decisions if one["cell"] == cell]
        for cell in cells
    }


def _draw_panels(
    title: str,
    legend: Sequence[Line2D],
    groups: Mapping[str, Sequence[Panel]],
    label: str,
    narrowest: float = _NARROWEST_RANGE,
) -> Figure:
    """Draw groups of panels below one another, each group on one scale, `narrowest` wide at least."""
    shapes = [_shape(panels) for panels in groups.values()]
    heights = [
        0.5 + lines * (0.5 + 0.16 * max(len(panel.names) for panel in panels))
        for (lines, _), panels in zip(shapes, groups.values(), strict=True)
    ]
    figure, body = new_figure(title, 0.75 + sum(heights))
    add_legend(body, legend)
    for part, shape, panels in zip(parts(body, groups, heights), shapes, groups.values(), strict=True):
        _draw_group(part, shape, panels, _limits(panels, narrowest))
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


def _limits(panels: Iterable[Panel], narrowest: float) -> tuple[float, float]:
    values = [panel.unmasked for panel in panels if panel.unmasked is not None]
    values += [dot.value + side * (dot.error or 0) for panel in panels for dot in panel.dots for side in (-1, 1)]
    middle, span = (min(values) + max(values)) / 2, max(max(values) - min(values), narrowest)
    return middle - 0.56 * span, middle + 0.56 * span


def _draw_group(
    figure: SubFigure, shape: tuple[int, int], panels: Sequence[Panel], limits: tuple[float, float]
) -> None:
    grid = figure.subplots(*shape, sharex=True, sharey=_share_names(panels), squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for index, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        axes.set_title(panel.title)
        axes.set_yticks(range(len(panel.names)), panel.names)
        axes.set_ylim(len(panel.names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        if panel.unmasked is not None:
            axes.axvline(panel.unmasked, **_UNMASKED, zorder=1)
        for dot in panel.dots:
            _draw_dot(axes, dot)
        axes.set_xlim(limits)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        if index + shape[1] >= len(panels):  # nothing stands below
            axes.tick_params(labelbottom=True)


def _draw_dot(axes: Axes, dot: Dot) -> None:
    if dot.error:
        ends = [dot.value - dot.error, dot.value + dot.error]
        axes.plot(ends, [dot.row, dot.row], color=dot.colour, linewidth=1.2, zorder=1)
    nested = dot.filled and dot.size != _SIZE  # a white edge tells dots on one another apart
    edge = "white" if nested else dot.colour
    face = dot.colour if dot.filled else "white"
    look: dict[str, Any] = {"color": dot.colour, "mfc": face, "mec": edge, "mew": 0.8, "ms": dot.size}
    axes.plot(dot.value, dot.row, dot.marker, clip_on=False, **look)


def _round_marker(index: int) -> str:
    return _ROUND_MARKERS[index % len(_ROUND_MARKERS)]
