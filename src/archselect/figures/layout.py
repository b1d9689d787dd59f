"""Where the states of a cell stand when it is drawn from left to right: a small layered graph layout.

A state stands one layer right of the rightmost state that it reads. From its own layer to the layer before its last
reader it runs on as a *lane*, from which the lines to its readers branch off. A lane has a place of its own in every
layer that it passes, so no line runs through what stands there. Lengths are inches, upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

from archselect.genotype import CellGenotype

Place = tuple[int, int]
"""`(state, layer)`: the state itself in its own layer, its lane in a later one."""
Link = tuple[Place, Place]
"""A line between neighbouring layers: from a place to the next of its lane, or to a reader."""

ROW = 0.29  # what one incoming edge of a node needs
LANE = 0.13
GAP = 0.11  # between two places of a layer
_SWEEPS = 24


@dataclass(frozen=True)
class CellLayout:
    """The layout of a cell.

    Attributes:
        output: The number that stands for the cell's output: one more than the last state.
        sources: The states that each node and the output read, from top to bottom.
        layers: The layer of each state and of the output, from 0 on the left.
        heights: The height of each place.
        links: All lines.
        bottom: Where the drawing begins.
        top: Where it ends.
    """

    output: int
    sources: dict[int, tuple[int, ...]]
    layers: dict[int, int]
    heights: dict[Place, float]
    links: tuple[Link, ...]
    bottom: float
    top: float


def lay_out(cell: CellGenotype) -> CellLayout:
    """Place the states of `cell` and its output so that few lines cross and most run level."""
    output = cell.inputs + len(cell.nodes)
    sources = {
        cell.inputs + index: tuple(sorted(source for _, source in node)) for index, node in enumerate(cell.nodes)
    }
    sources[output] = output_sources(cell)
    layers = dict.fromkeys(range(cell.inputs), 0)
    for state, read in sources.items():
        layers[state] = 1 + max(layers[source] for source in read)
    layers[output] = 1 + max(layers[state] for state in range(output))
    links = _links(sources, layers)
    columns = _ordered(_columns(layers, links), links)
    sizes = {place: _size(place, layers, sources, output) for column in columns for place in column}
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


def _links(sources: dict[int, tuple[int, ...]], layers: dict[int, int]) -> tuple[Link, ...]:
    links: dict[Link, None] = {}
    for state, read in sources.items():
        for source in read:
            lane = [(source, layer) for layer in range(layers[source], layers[state])]
            links.update(dict.fromkeys(pairwise([*lane, (state, layers[state])])))
    return tuple(links)


def _columns(layers: dict[int, int], links: Sequence[Link]) -> list[list[Place]]:
    places = sorted({(state, layer) for state, layer in layers.items()} | {place for link in links for place in link})
    return [[place for place in places if place[1] == layer] for layer in range(max(layers.values()) + 1)]


def _ordered(columns: list[list[Place]], links: Sequence[Link]) -> list[list[Place]]:
    """Swap places of a layer as long as that leaves fewer crossings; the inputs of the cell keep their order."""
    columns = [list(column) for column in columns]
    fewest = _crossings(columns, links)
    for _ in range(_SWEEPS):
        before = fewest
        for column in columns[1:]:
            for first, second in combinations(range(len(column)), 2):
                column[first], column[second] = column[second], column[first]
                crossings = _crossings(columns, links)
                if crossings < fewest:
                    fewest = crossings
                else:
                    column[first], column[second] = column[second], column[first]
        if fewest == before:
            break
    return columns


def _crossings(columns: Sequence[Sequence[Place]], links: Sequence[Link]) -> int:
    rank = {place: index for column in columns for index, place in enumerate(column)}
    return sum(
        (rank[a] - rank[c]) * (rank[b] - rank[d]) < 0 for (a, b), (c, d) in combinations(links, 2) if a[1] == c[1]
    )


def _size(place: Place, layers: dict[int, int], sources: dict[int, tuple[int, ...]], output: int) -> float:
    state, layer = place
    if layer != layers[state]:
        return LANE
    return ROW if state == output or state not in sources else ROW * len(sources[state])


def _heights(
    columns: Sequence[Sequence[Place]], links: Sequence[Link], sizes: dict[Place, float]
) -> dict[Place, float]:
    neighbours: dict[Place, list[Place]] = {place: [] for column in columns for place in column}
    for left, right in links:
        neighbours[left].append(right)
        neighbours[right].append(left)
    heights = dict.fromkeys(neighbours, 0.0)
    for _ in range(_SWEEPS):
        for column in columns:
            wished = [fmean([heights[other] for other in neighbours[place]] or [0.0]) for place in column]
            offsets = _stacked([sizes[place] for place in column])
            shifts = _falling([wish - offset for wish, offset in zip(wished, offsets, strict=True)])
            heights.update(
                (place, shift + offset) for place, shift, offset in zip(column, shifts, offsets, strict=True)
            )
    return heights


def _stacked(sizes: Sequence[float]) -> list[float]:
    """The centres of boxes of these sizes, stacked downwards from 0 as tightly as allowed."""
    centres = [0.0]
    for above, below in pairwise(sizes):
        centres.append(centres[-1] - (above + below) / 2 - GAP)
    return centres


def _falling(values: Sequence[float]) -> list[float]:
    """The sequence nearest to `values` (least squares) that never rises: isotonic regression."""
    indices = range(len(values))
    return [min(max(fmean(values[j : k + 1]) for k in indices[i:]) for j in indices[: i + 1]) for i in indices]
