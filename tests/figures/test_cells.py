"""A drawn cell shows every operation and state; what stands in one layer is apart, and few lines cross."""

from itertools import combinations, pairwise

import pytest
from matplotlib.colors import same_color
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from archselect.figures.cells import GAP, LANE, ROW, CellLayout, draw_cells, draw_cells_of, lay_out, output_sources
from archselect.figures.style import STYLES
from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input

NASBENCH201 = Genotype.from_nasbench201("|none~0|+|none~0|noise~1|+|none~0|none~1|none~2|").cell("cell")
CHAIN = Genotype.from_text("cell:1:skip_connect@0/skip_connect@1/skip_connect@2").cell("cell")
DENSE = CellGenotype("normal", 2, tuple(tuple(Input("noise", j) for j in range(2 + i)) for i in range(4)))
CELLS = [cell for genotype in PUBLISHED.values() for cell in genotype] + [NASBENCH201, CHAIN, DENSE]


def test_shows_every_operation_and_state_of_every_cell() -> None:
    genotype = PUBLISHED["darts_pt_s5_3"]
    for cell, axes in zip(genotype, draw_cells(genotype).axes, strict=True):
        operations = [operation for _, _, operation in cell.edges]
        states = ["input 0", "input 1", "2", "3", "4", "5", "output"]
        assert sorted(text.get_text() for text in axes.texts) == sorted([f"{cell.name} cell", *operations, *states])
    (axes,) = draw_cells(Genotype((NASBENCH201,))).axes
    assert "cell" in [text.get_text() for text in axes.texts]  # one without siblings is just a cell


def test_the_arrow_of_each_operation_leads_into_its_node_in_its_colour() -> None:
    genotype = Genotype.from_text("cell:2:skip_connect@0+noise@1/sep_conv_3x3@2+none@0")
    axes = draw_cells(genotype).axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    for _, target, operation in genotype.cell("cell").edges:
        arrow = next(patch for patch in arrows if same_color(patch.get_edgecolor(), STYLES[operation].colour))
        start, end = arrow._posA_posB  # type: ignore[attr-defined]
        assert end == pytest.approx(places[str(target)], abs=0.02)
        assert start[1] == pytest.approx(places[operation][1], abs=0.02)
        assert start[0] > places[operation][0]


def test_names_stand_inside_their_boxes() -> None:
    name = "an_operation_with_quite_a_long_name"
    figure = draw_cells(Genotype.from_text(f"cell:1:{name}@0"))
    figure.draw_without_rendering()
    (text,) = (text for text in figure.axes[0].texts if text.get_text() == name)
    (box,) = (patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch))
    written, around = text.get_window_extent(), box.get_window_extent()
    assert around.x0 < written.x0 < written.x1 < around.x1


def test_architectures_stand_side_by_side_only_where_that_is_not_too_wide() -> None:
    deep, flat = Genotype((CHAIN,)), Genotype.from_text("cell:1:sep_conv_3x3@0")
    for genotype, columns in ((deep, 1), (flat, 2)):
        axes = draw_cells_of([("magnitude", genotype), ("perturb", genotype)], beside=2).axes
        assert len({one.get_position().x0 for one in axes}) == columns


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.name}-{len(cell.edges)}")
def test_states_stand_right_of_what_they_read_and_nothing_in_a_layer_overlaps(cell: CellGenotype) -> None:
    layout = lay_out(cell)
    heights, layers = layout.heights, layout.layers
    for state, sources in layout.sources.items():
        for source in sources:  # it runs on as a lane until the layer before
            lane = [(source, layer) for layer in range(layers[source], layers[state])]
            assert lane and set(pairwise([*lane, (state, layers[state])])) <= set(layout.links)
        from_the_top = [heights[source, layers[state] - 1] for source in sources]
        assert from_the_top == sorted(from_the_top, reverse=True)

    def size(place: tuple[int, int]) -> float:
        state, layer = place
        if layer != layers[state]:
            return LANE
        return ROW * (len(layout.sources[state]) if cell.inputs <= state < layout.output else 1)

    for layer in range(max(layers.values()) + 1):
        places = sorted((place for place in heights if place[1] == layer), key=heights.__getitem__)
        for below, above in pairwise(places):
            assert heights[above] - heights[below] >= (size(below) + size(above)) / 2 + GAP - 1e-9


def test_a_state_stands_no_further_right_than_it_must() -> None:
    layout = lay_out(PUBLISHED["darts_pt_s5_3"].cell("reduction"))
    # 2 reads the inputs; 3 reads 2; 4 and 5 read 3; the output reads them all.
    assert layout.layers == {0: 0, 1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4}


def crossings(layout: CellLayout) -> int:
    """Of lines between the same two layers; those that meet in a place do not cross."""
    heights, pairs = layout.heights, combinations(layout.links, 2)
    return sum((heights[a] - heights[c]) * (heights[b] - heights[d]) < 0 for (a, b), (c, d) in pairs if a[1] == c[1])


def test_lines_do_not_cross_where_they_need_not() -> None:
    # Node 2 reads input 1 and node 3 reads input 0, so the nodes must stand in the opposite order of their numbers.
    layout = lay_out(Genotype.from_text("cell:2:skip_connect@1/skip_connect@0").cell("cell"))
    assert layout.heights[0, 0] > layout.heights[1, 0] and layout.heights[3, 1] > layout.heights[2, 1]
    assert [crossings(lay_out(cell)) for cell in (NASBENCH201, CHAIN, *PUBLISHED["darts_pt_s5_3"])] == [0, 0, 2, 0]
    assert crossings(lay_out(DENSE)) <= 7


def test_the_output_is_the_last_node_only_in_a_cell_of_the_nasbench201_kind() -> None:
    assert output_sources(NASBENCH201) == (3,)
    assert output_sources(PUBLISHED["DARTS_V2"].cell("normal")) == (2, 3, 4, 5)
    assert output_sources(CHAIN) == (1, 2, 3)
    assert output_sources(DENSE) == (2, 3, 4, 5)
