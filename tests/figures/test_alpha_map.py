"""The heat maps show the weights of the records, where their edge and operation are, around that of all alike."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from archselect.figures.trajectories import draw_alpha_map, excess_of, scale_of

CELLS = {
    "normal": {
        "edges": [[0, 2], [1, 2]],
        "operations": [["skip_connect", "sep_conv_3x3"], ["sep_conv_3x3", "none"]],
    }
}


def record(epoch: int) -> dict[str, Any]:
    share = 0.1 * epoch
    return {"epoch": epoch, "alpha": {"normal": [[0.5 + share, 0.5 - share], [0.3, 0.7]]}}


def test_a_weight_stands_at_its_operation_edge_and_epoch() -> None:
    names = ["skip_connect", "sep_conv_3x3", "none"]
    found = excess_of([record(0), record(2)], "normal", CELLS["normal"]["operations"], names)
    np.testing.assert_allclose(found[0, 0], [0.0, 0.2], atol=1e-12)  # 0.5 and 0.7, of two operations
    assert np.isnan(found[0, 1]).all()
    np.testing.assert_allclose(found[1], [[0.0, -0.2], [-0.2, -0.2]], atol=1e-12)


def test_a_weight_is_held_against_the_number_of_operations_on_its_own_edge() -> None:
    records = [{"epoch": 1, "alpha": {"normal": [[0.5, 0.5], [0.5, 0.25, 0.25]]}}]
    found = excess_of(records, "normal", [["a", "b"], ["a", "b", "c"]], ["a", "b", "c"])
    np.testing.assert_allclose(found[0, :, 0], [0.0, 0.5 - 1 / 3])


@pytest.fixture
def maps() -> dict[str, Axes]:
    figure = draw_alpha_map([record(0), record(1), record(2)], {"cells": CELLS})
    return {axes.get_title(loc="left").replace("\n", "_"): axes for axes in figure.axes if axes.images}


def test_there_is_a_map_per_operation_with_a_line_per_edge(maps: dict[str, Axes]) -> None:
    assert list(maps) == ["skip_connect", "sep_conv_3x3", "none"]
    assert [label.get_text() for label in maps["skip_connect"].get_yticklabels()] == ["(0,2)", "(1,2)"]
    (image,) = maps["none"].images
    assert np.ma.getmaskarray(image.get_array())[0].all()
    np.testing.assert_allclose(np.asarray(image.get_array())[1], [0.2, 0.2, 0.2])


def test_all_maps_share_one_scale_and_the_epochs(maps: dict[str, Axes]) -> None:
    assert [axes.images[0].get_clim() for axes in maps.values()] == [pytest.approx((-0.2, 0.2))] * 3
    assert {axes.get_xlim() for axes in maps.values()} == {(0.5, 3.5)}


def test_the_middle_of_the_colours_is_where_all_operations_are_alike(maps: dict[str, Axes]) -> None:
    image = maps["skip_connect"].images[0]
    white = image.cmap(0.5)
    assert image.cmap(image.norm(0.0)) == white
    red, _, blue, _ = image.cmap(image.norm(0.2))
    assert red > blue
    red, _, blue, _ = image.cmap(image.norm(-0.2))
    assert blue > red


def test_weights_that_are_all_alike_have_the_colour_of_the_middle() -> None:
    assert scale_of([np.array([[[0.0, 1e-9]]])])(1e-9) == pytest.approx(0.5, abs=1e-3)


def test_refuses_a_history_of_another_space() -> None:
    other = {"cells": {"normal": {"edges": [[0, 2]], "operations": [["none"]]}}}
    with pytest.raises(ValueError, match="normal cell, but alpha at epoch 0"):
        draw_alpha_map([record(0)], other)
