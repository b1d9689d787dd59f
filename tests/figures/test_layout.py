"""The layout of a cell keeps what stands in one layer apart, and few lines cross."""

from itertools import combinations, pairwise

import pytest

from archselect.figures.cells import GAP, LANE, ROW, _crossings, _falling, lay_out, output_sources
from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input

NASBENCH201 = Genotype.from_nasbench201("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|").cell("cell")
CHAIN = Genotype.from_text("cell:1:skip_connect@0/skip_connect@1/skip_connect@2").cell("cell")
DENSE = CellGenotype("normal", 2, tuple(tuple(Input("noise", j) for j in range(2 + i)) for i in range(4)))
CELLS = [cell for genotype in PUBLISHED.values() for cell in genotype] + [NASBENCH201, CHAIN, DENSE]


def test_a_state_stands_right_of_all_it_reads() -> None:
    layout = lay_out(PUBLISHED["darts_pt_s5_3"].cell("reduction"))

    # 2 reads the inputs; 3 reads 2; 4 and 5 read 3; the output reads them all.
    assert layout.layers == {0: 0, 1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4}


def test_a_state_runs_on_as_a_lane_until_its_last_reader() -> None:
    cell = Genotype.from_text("cell:1:skip_connect@0/skip_connect@1/skip_connect@0+skip_connect@2").cell("cell")
    links = lay_out(cell).links

    # State 0 in layer 0, its lane in layers 1 and 2, then node 3 in layer 3, which reads it.
    assert {((0, 0), (0, 1)), ((0, 1), (0, 2)), ((0, 2), (3, 3))} <= set(links)
    assert ((0, 2), (0, 3)) not in links


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.name}-{len(cell.edges)}")
def test_nothing_in_a_layer_overlaps(cell: CellGenotype) -> None:
    layout = lay_out(cell)

    def size(place: tuple[int, int]) -> float:
        state, layer = place
        if layer != layout.layers[state]:
            return LANE
        return ROW * (len(layout.sources[state]) if cell.inputs <= state < layout.output else 1)

    for layer in range(max(layout.layers.values()) + 1):
        places = sorted((place for place in layout.heights if place[1] == layer), key=layout.heights.__getitem__)
        for below, above in pairwise(places):
            distance = layout.heights[above] - layout.heights[below]
            assert distance >= (size(below) + size(above)) / 2 + GAP - 1e-9


def test_lines_do_not_cross_where_they_need_not() -> None:
    # Node 2 reads input 1 and node 3 reads input 0, so the nodes must stand in the opposite order of their numbers.
    cell = Genotype.from_text("cell:2:skip_connect@1/skip_connect@0").cell("cell")
    layout = lay_out(cell)

    assert layout.heights[0, 0] > layout.heights[1, 0]
    assert layout.heights[3, 1] > layout.heights[2, 1]


def test_the_inputs_of_a_node_are_listed_from_the_top() -> None:
    layout = lay_out(DENSE)
    for state, sources in layout.sources.items():
        before = layout.layers[state] - 1
        heights = [layout.heights[source, before] for source in sources]
        assert heights == sorted(heights, reverse=True)


def test_counts_crossings() -> None:
    columns = [[(0, 0), (1, 0)], [(2, 1), (3, 1)]]
    level = [((0, 0), (2, 1)), ((1, 0), (3, 1))]
    crossed = [((0, 0), (3, 1)), ((1, 0), (2, 1))]

    assert _crossings(columns, level) == 0
    assert _crossings(columns, crossed) == 1
    assert _crossings(columns, [*level, *crossed]) == 1  # lines that meet in a place do not cross


def test_isotonic_regression_pools_what_would_rise() -> None:
    assert _falling([5.0, 1.0, 3.0, 0.0]) == [5.0, 2.0, 2.0, 0.0]
    assert all(above >= below for above, below in combinations(_falling([1.0, 2.0, 3.0]), 2))


def test_the_output_is_the_last_node_only_in_a_cell_of_the_nasbench201_kind() -> None:
    assert output_sources(NASBENCH201) == (3,)
    assert output_sources(PUBLISHED["DARTS_V2"].cell("normal")) == (2, 3, 4, 5)
    assert output_sources(CHAIN) == (1, 2, 3)
    assert output_sources(DENSE) == (2, 3, 4, 5)
