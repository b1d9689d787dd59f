"""A genotype drawn as graphs, without graphviz: input states on the left, the output on the right.

A state stands one layer right of the rightmost state that it reads. From its own layer to the layer before its last
reader it runs on as a *lane*, from which the lines to its readers branch off. A lane has a place of its own in every
layer that it passes, so no line runs through what stands there. Lengths are inches, upwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise, zip_longest
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve
from scipy.optimize import isotonic_regression

from archselect.figures.style import WIDEST, Style, cell_title, fitting_size, styled, styles
from archselect.genotype import CellGenotype, Genotype

Place = tuple[int, int]
"""`(state, layer)`: the state itself in its own layer, its lane in a later one."""
Link = tuple[Place, Place]
"""A line between neighbouring layers: from a place to the next of its lane, or to a reader."""

ROW = 0.29  # what one incoming edge of a node needs
LANE = 0.13
GAP = 0.11  # between two places of a layer


class CellLayout(NamedTuple):
    """Where the states of a cell stand; its output is one more state, after the last."""

    output: int
    sources: dict[int, tuple[int, ...]]  # what each node and the output read, from top to bottom
    layers: dict[int, int]  # of each state and of the output, from 0 on the left
    heights: dict[Place, float]
    links: tuple[Link, ...]
    bottom: float
    top: float


def lay_out(cell: CellGenotype) -> CellLayout:
    """Place the states of `cell` and its output so that few lines cross and most run level."""
    output = cell.inputs + len(cell.nodes)
    sources = {state: sorted(source for _, source in node) for state, node in enumerate(cell.nodes, cell.inputs)}
    layers = dict.fromkeys(range(cell.inputs), 0)
    for state, read in sources.items():
        layers[state] = 1 + max(layers[source] for source in read)
    sources[output], layers[output] = list(output_sources(cell)), 1 + max(layers.values())
    links = _links(sources, layers)
    places = sorted({*layers.items(), *chain(*links)})
    columns = [[place for place in places if place[1] == layer] for layer in range(layers[output] + 1)]
    rows = {state: len(node) for state, node in enumerate(cell.nodes, cell.inputs)}
    sizes = {(state, layer): ROW * rows.get(state, 1) if layer == layers[state] else LANE for state, layer in places}
    heights = _heights(columns, links, sizes)
    by_height = {
        state: tuple(sorted(read, key=lambda source: -heights[source, layers[state] - 1]))
        for state, read in sources.items()
    }
    top = max(heights[place] + size / 2 for place, size in sizes.items())
    bottom = min(heights[place] - size / 2 for place, size in sizes.items())
    return CellLayout(output, by_height, layers, heights, links, bottom, top)


def output_sources(cell: CellGenotype) -> tuple[int, ...]:
    """The states that make the output of `cell`.

    The last node alone in a cell of the NAS-Bench-201 kind (one input, every node reads every earlier state); the
    concatenation of all nodes in any other.
    """
    nodes = tuple(range(cell.inputs, cell.inputs + len(cell.nodes)))
    dense = all(len(node) == cell.inputs + index for index, node in enumerate(cell.nodes))
    return nodes[-1:] if cell.inputs == 1 and dense else nodes


def _links(sources: Mapping[int, Sequence[int]], layers: Mapping[int, int]) -> tuple[Link, ...]:
    links: dict[Link, None] = {}
    for state, read in sources.items():
        for source in read:
            lane = [(source, layer) for layer in range(layers[source], layers[state])]
            links.update(dict.fromkeys(pairwise([*lane, (state, layers[state])])))
    return tuple(links)


def _heights(columns: Sequence[list[Place]], links: Sequence[Link], sizes: Mapping[Place, float]) -> dict[Place, float]:
    """Move each place towards the mean of its neighbours again and again, as close to others as their sizes allow.

    In the first sweeps places go past one another, which leaves few crossings (Sugiyama et al., IEEE Trans. SMC 1981);
    the inputs of the cell, in the first column, keep their order.
    """
    neighbours: dict[Place, list[Place]] = {place: [] for column in columns for place in column}
    for left, right in links:
        neighbours[left].append(right)
        neighbours[right].append(left)
    heights = {place: -float(index) for column in columns for index, place in enumerate(column)}
    for sweep in range(24):
        for index, column in enumerate(columns):
            wished = {place: fmean([heights[other] for other in neighbours[place]] or [0.0]) for place in column}
            if index > 0 and sweep < 16:
                column.sort(key=wished.__getitem__, reverse=True)
            steps = [(sizes[above] + sizes[below]) / 2 + GAP for above, below in pairwise(column)]
            stacked = -np.cumsum([0.0, *steps])  # as tightly as allowed, downwards
            shifts = isotonic_regression([wished[place] for place in column] - stacked, increasing=False).x
            heights.update(zip(column, shifts + stacked, strict=True))
    return heights


# Lengths in inches, as everywhere in this drawing.
_PITCH = 1.95  # from one layer to the next
_RADIUS = 0.14  # of a state
_BOX = (0.98, 0.21)  # of an operation's name
_BOX_BEFORE_NODE = 0.88  # from the centre of the box to that of the node
_TITLE = 0.42
_OUTPUT_SHIFT = 0.9  # the output needs no operations before it and stands nearer
_LEFT, _RIGHT, _BELOW = 0.45, 0.4, 0.16
_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0}
_LINE: dict[str, Any] = {"color": "0.55", "linewidth": 1.0}
_FRAME = {"boxstyle": "round,pad=0.35", "facecolor": "0.93", "edgecolor": "0.25", "linewidth": 1.0}
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}


def draw_cells(genotype: Genotype, operations: Iterable[str] = ()) -> Figure:
    """Draw the cells of `genotype` below one another; with all `operations` of its space, they look as in its figures.

    States carry their numbers, so an edge is found again under its name `(source, target)`. Lines into the output
    carry no operation: they come from the last node in a NAS-Bench-201 cell, from all nodes (concatenated) in others.
    """
    return draw_cells_of([("", genotype)], operations=operations)


@styled
def draw_cells_of(
    architectures: Sequence[tuple[str, Genotype]], beside: int = 1, operations: Iterable[str] = ()
) -> Figure:
    """Draw the cells of several architectures, up to so many of them side by side: as many as the width allows.

    Args:
        architectures: What each is called, and its genotype.
        beside: How many architectures stand in one row at most.
        operations: Further ones that other figures show.
    """
    there = [operation for _, genotype in architectures for cell in genotype for _, _, operation in cell.edges]
    by_operation = styles([*there, *operations])
    drawn = [[(label, cell, lay_out(cell)) for cell in genotype] for label, genotype in architectures]
    layers = max(layout.layers[layout.output] for _, _, layout in chain(*drawn))
    width = _LEFT + layers * _PITCH - _OUTPUT_SHIFT + _RIGHT
    columns = max(1, min(beside, len(drawn), int(WIDEST / width)))
    rows = [row for start in range(0, len(drawn), columns) for row in zip_longest(*drawn[start : start + columns])]
    rows = [row + (None,) * (columns - len(row)) for row in rows]
    heights = [_TITLE + max(one[2].top - one[2].bottom for one in row if one is not None) + _BELOW for row in rows]
    dots = rcParams["figure.dpi"] * min(1.0, WIDEST / (columns * width))  # a very deep cell has no more pixels
    figure = Figure(figsize=(columns * width, sum(heights)), dpi=dots)
    whole = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0, "hspace": 0, "height_ratios": heights}
    grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw=whole)
    for panels, row, height in zip(grid, rows, heights, strict=True):
        for axes, one in zip(panels, row, strict=True):
            if one is None:
                axes.remove()
                continue
            label, cell, layout = one
            top = layout.top + _TITLE
            axes.set(xlim=(-_LEFT, width - _LEFT), ylim=(top - height, top))
            title = cell_title(cell.name)
            names = [label, title if title != "cell" or not label else ""]  # "cell" says nothing beside a label
            _draw_cell(axes, cell, layout, ": ".join(filter(None, names)), by_operation)
    return figure


def _draw_cell(
    axes: Axes, cell: CellGenotype, layout: CellLayout, title: str, by_operation: Mapping[str, Style]
) -> None:
    axes.set_axis_off()
    points = fitting_size(title, 0.85 * (axes.get_xlim()[1] + _LEFT), 10)  # bold is wider
    axes.text(0.1 - _LEFT, layout.top + 0.24, title, fontsize=points, fontweight="bold", va="center")
    _draw_lines(axes, layout)
    _draw_operations(axes, cell, layout, by_operation)
    for state, layer in layout.layers.items():
        x, y = layer * _PITCH, layout.heights[state, layer]
        if state == layout.output:
            x -= _OUTPUT_SHIFT
            axes.add_patch(FancyArrowPatch((x - 0.37, y), (x - 0.25, y), shrinkB=0, **_ARROW, **_LINE))
            axes.text(x, y, "output", bbox=_FRAME, **_CENTRED)
        elif state < cell.inputs:
            axes.text(x, y, f"input {state}", bbox=_FRAME, **_CENTRED)
        else:
            axes.add_patch(Circle((x, y), _RADIUS, facecolor="white", edgecolor="0.25", linewidth=1.2, zorder=3))
            axes.text(x, y - 0.01, str(state), fontsize=8.5, **_CENTRED)


def _draw_lines(axes: Axes, layout: CellLayout) -> None:
    """Draw what leads from states to the boxes of their edges and to the output."""
    for (source, before), (target, after) in layout.links:
        start = (before * _PITCH, layout.heights[source, before])
        box = after * _PITCH - _BOX_BEFORE_NODE - _BOX[0] / 2
        if source == target:  # a lane runs level past the boxes of its layer, and past the nodes
            end = (box, layout.heights[target, after])
            axes.plot([box, after * _PITCH], [end[1], end[1]], zorder=1, **_LINE)
        elif target == layout.output:
            end = (after * _PITCH - _OUTPUT_SHIFT - 0.36, layout.heights[target, after])
        else:
            end = (box, _box_height(layout, source, target))
        middle = (start[0] + end[0]) / 2
        points = [start, (middle, start[1]), (middle, end[1]), end]
        curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        axes.add_patch(PathPatch(curve, fill=False, zorder=1, **_LINE))


def _draw_operations(axes: Axes, cell: CellGenotype, layout: CellLayout, by_operation: Mapping[str, Style]) -> None:
    """Draw the box of each edge, and the arrow from it into the node."""
    width, height = _BOX
    for source, target, operation in cell.edges:
        style, layer = by_operation[operation], layout.layers[target]
        node = (layer * _PITCH, layout.heights[target, layer])
        x, y = node[0] - _BOX_BEFORE_NODE, _box_height(layout, source, target)
        look: dict[str, Any] = {
            "color": style.colour,
            "linewidth": 1.4,
            "linestyle": "--" if operation == "none" else "-",
        }
        axes.add_patch(FancyArrowPatch((x + width / 2, y), node, shrinkB=_RADIUS * 72, **_ARROW, **look))
        box = FancyBboxPatch((x - width / 2, y - height / 2), *_BOX, boxstyle="round,pad=0,rounding_size=0.08")
        box.set(facecolor=(style.colour, 0.25), edgecolor=style.colour, linewidth=1.0, zorder=3)
        axes.add_patch(box)
        size = fitting_size(operation, 0.92 * width)  # a long name still fits into its box
        axes.text(x, y - 0.01, operation, fontsize=size, **_CENTRED)


def _box_height(layout: CellLayout, source: int, target: int) -> float:
    sources = layout.sources[target]
    return layout.heights[target, layout.layers[target]] + ROW * ((len(sources) - 1) / 2 - sources.index(source))
