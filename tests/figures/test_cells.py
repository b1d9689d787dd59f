"""A drawn cell shows every operation and state, each box before its own node."""

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from archselect.figures.cells import draw_cells
from archselect.figures.style import STYLES
from archselect.genotype import PUBLISHED, Genotype


def texts(axes: Axes) -> list[str]:
    return sorted(text.get_text() for text in axes.texts)


def test_shows_every_operation_and_state_of_every_cell() -> None:
    genotype = PUBLISHED["darts_pt_s5_3"]
    figure = draw_cells(genotype)

    for cell, axes in zip(genotype, figure.axes, strict=True):
        operations = [operation for _, _, operation in cell.edges]
        states = ["input 0", "input 1", "2", "3", "4", "5", "output"]
        assert texts(axes) == sorted([f"{cell.name} cell", *operations, *states])


def test_a_cell_type_without_siblings_is_just_a_cell() -> None:
    figure = draw_cells(Genotype.from_nasbench201("|none~0|+|none~0|noise~1|"))

    assert texts(figure.axes[0]) == sorted(["cell", "none", "none", "noise", "input 0", "1", "2", "output"])


def test_the_arrow_of_each_operation_leads_into_its_node_in_its_colour() -> None:
    genotype = Genotype.from_text("cell:2:skip_connect@0+noise@1/sep_conv_3x3@2+none@0")
    figure = draw_cells(genotype)

    axes = figure.axes[0]
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

    axes = figure.axes[0]
    figure.draw_without_rendering()
    (text,) = (text for text in axes.texts if text.get_text() == name)
    (box,) = (patch for patch in axes.patches if isinstance(patch, FancyBboxPatch))
    written, around = text.get_window_extent(), box.get_window_extent()
    assert around.x0 < written.x0 < written.x1 < around.x1
