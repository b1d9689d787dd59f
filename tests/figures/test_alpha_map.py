"""The heat maps show the weights of the records, where their edge and operation are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from archselect.figures.alpha_map import draw_alpha_map, weights_of

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
    found = weights_of([record(0), record(2)], "normal", CELLS["normal"]["operations"], names)
    assert found[0, 0].tolist() == [0.5, 0.7]
    assert np.isnan(found[0, 1]).all()
    np.testing.assert_allclose(found[1], [[0.5, 0.3], [0.3, 0.3]])


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Axes]:
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: saved.append(figure))
    draw_alpha_map([record(0), record(1), record(2)], {"cells": CELLS}, tmp_path / "map.png")
    return {axes.get_title(loc="left"): axes for axes in saved[0].axes if axes.images}


def test_there_is_a_map_per_operation_with_a_line_per_edge(maps: dict[str, Axes]) -> None:
    assert list(maps) == ["skip_connect", "sep_conv_3x3", "none"]
    assert [label.get_text() for label in maps["skip_connect"].get_yticklabels()] == ["(0,2)", "(1,2)"]
    (image,) = maps["none"].images
    assert np.ma.getmaskarray(image.get_array())[0].all()
    np.testing.assert_allclose(np.asarray(image.get_array())[1], [0.7, 0.7, 0.7])


def test_all_maps_share_one_scale_and_the_epochs(maps: dict[str, Axes]) -> None:
    assert {axes.images[0].get_clim() for axes in maps.values()} == {(0.0, 0.7)}
    assert {axes.get_xlim() for axes in maps.values()} == {(-0.5, 2.5)}


def test_refuses_a_history_of_another_space(tmp_path: Path) -> None:
    other = {"cells": {"normal": {"edges": [[0, 2]], "operations": [["none"]]}}}
    with pytest.raises(ValueError, match="normal cell, but alpha at epoch 0"):
        draw_alpha_map([record(0)], other, tmp_path / "map.png")
