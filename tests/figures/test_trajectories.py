"""Trajectories, maps and curves show the numbers of the records, under the right edge and in the right unit."""

from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D

from archselect.figures.style import STYLES
from archselect.figures.trajectories import draw_alpha, draw_alpha_map, draw_curves
from archselect.results.metric import Metric

NAMES = ["skip_connect", "sep_conv_3x3", "none"]
SPACE = {"cells": {"normal": {"edges": [[0, 2], [1, 2]], "operations": [NAMES[:2], ["none", *NAMES[:2]]]}}}
ONE_EDGE = {"cells": {"normal": {"edges": [[0, 2]], "operations": [NAMES[:2]]}}}


def record(epoch: int, **metrics: float) -> dict[str, Any]:
    share = 0.1 * epoch
    alpha = {"normal": [[0.5 + share, 0.5 - share], [0.2, 0.3 + share, 0.5 - share]]}
    return {"epoch": epoch, "metrics": metrics, "alpha": alpha}


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]  # type: ignore[arg-type]


def test_each_edge_shows_the_weights_of_its_own_operations() -> None:
    figure = draw_alpha([record(0), record(1)], SPACE)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["(0,2)", "(1,2)"]
    uniform, *lines = panels["(1,2)"].lines
    assert list(uniform.get_ydata()) == [pytest.approx(1 / 3)] * 2
    assert {str(line.get_color()): points(line) for line in lines} == {
        STYLES["none"].colour: [(1, 0.2), (2, 0.2)],
        STYLES["skip_connect"].colour: [(1, 0.3), (2, 0.4)],
        STYLES["sep_conv_3x3"].colour: [(1, 0.5), (2, 0.4)],
    }
    assert len(panels["(0,2)"].lines) == 3
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, "1/n: all n operations alike"]


def test_all_edges_share_a_scale_that_is_not_so_narrow_that_rounding_looks_like_a_difference() -> None:
    limits = [axes.get_ylim() for axes in draw_alpha([record(0), record(3)], SPACE).axes]
    assert limits == [pytest.approx((0.2 - 0.06 * 0.6, 0.8 + 0.06 * 0.6))] * 2  # the weights go from 0.2 to 0.8
    equal = {"epoch": 1, "alpha": {"normal": [[0.5, 0.5]]}}
    assert draw_alpha([equal], ONE_EDGE).axes[0].get_ylim() == pytest.approx((0.5 - 0.0112, 0.5 + 0.0112))
    (scale,) = (axes.images[0].norm for axes in draw_alpha_map([equal], ONE_EDGE).axes[:1])
    assert scale(1e-9) == pytest.approx(0.5, abs=1e-3)


def test_a_map_per_operation_shows_how_far_weights_are_from_those_of_equal_operations() -> None:
    figure = draw_alpha_map([record(0), record(1), record(2)], SPACE)
    maps = {axes.get_title(loc="left").replace("\n", "_"): axes for axes in figure.axes if axes.images}
    assert list(maps) == NAMES
    assert [label.get_text() for label in maps["skip_connect"].get_yticklabels()] == ["(0,2)", "(1,2)"]
    image, none = maps["skip_connect"].images[0], maps["none"].images[0].get_array()
    expected = [[0.0, 0.1, 0.2], [0.3 - 1 / 3, 0.4 - 1 / 3, 0.5 - 1 / 3]]  # a line per edge
    np.testing.assert_allclose(np.asarray(image.get_array()), expected, atol=1e-12)
    assert np.ma.getmaskarray(none)[0].all()  # not on that edge
    np.testing.assert_allclose(np.asarray(none)[1], 0.2 - 1 / 3)
    assert [axes.images[0].get_clim() for axes in maps.values()] == [pytest.approx((-0.2, 0.2))] * 3
    assert {axes.get_xlim() for axes in maps.values()} == {(0.5, 3.5)}
    assert image.cmap(image.norm(0.0)) == image.cmap(0.5)  # white
    for excess, higher, lower in ((0.2, 0, 2), (-0.2, 2, 0)):  # red above, blue below
        colour = image.cmap(image.norm(excess))
        assert colour[higher] > colour[lower]


@pytest.mark.parametrize("draw", [draw_alpha, draw_alpha_map])
def test_refuses_a_history_of_another_space_and_an_empty_one(draw: Any) -> None:
    with pytest.raises(ValueError, match=r"\[2\] operations .* normal cell, but alpha at epoch 4 has \[2, 3\]"):
        draw([record(4)], ONE_EDGE)
    with pytest.raises(ValueError, match="no records"):
        draw([], SPACE)


def test_curves_show_accuracy_in_percent_and_leave_out_what_was_not_measured() -> None:
    history = [record(0, train_accuracy=0.25, train_loss=2.0), record(1, train_accuracy=0.5, train_loss=1.0)]
    history.append(record(2, train_accuracy=0.75, train_loss=0.5, val_accuracy=0.7))
    figure = draw_curves(history, "The search: accuracy and loss")
    accuracy, loss = figure.axes
    assert "%" in accuracy.get_ylabel()
    assert [points(line) for line in accuracy.lines] == [[(1, 25), (2, 50), (3, 75)], [(3, 70)]]
    assert [points(line) for line in loss.lines] == [[(1, 2), (2, 1), (3, 0.5)]]
    training, validation = figure.subfigs[0].legends[0].get_lines()
    assert [line.get_label() for line in (training, validation)] == ["training", "validation"]
    assert [line.get_color() for line in accuracy.lines] == [training.get_color(), validation.get_color()]


@pytest.mark.parametrize("first", [0, 1])
def test_a_line_stands_between_the_epochs_before_and_after_the_last_edge_is_decided(first: int) -> None:
    history = [record(first + index, val_accuracy=0.5) for index in range(4)]
    decisions = [{"kind": "operation", "epoch": 0}, {"kind": "operation", "epoch": 2}, {"kind": "topology", "epoch": 3}]
    axes = draw_curves(history, "The selection", decisions).axes[0]
    assert list(axes.lines[-1].get_xdata()) == [first + 2.5] * 2  # two epochs came before
    unmarked = draw_curves(history, "The selection", decisions[:2])  # nothing is decided after the edges
    assert len(unmarked.axes[0].lines) == 1


def test_epochs_stand_at_whole_numbers_even_where_there_is_one() -> None:
    axes = draw_curves([record(0, val_accuracy=0.5)], "The search").axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert len(ticks) >= 2 and all(tick == round(tick) for tick in ticks)


@pytest.mark.parametrize(
    ("history", "found"), [([record(0, learning_rate=0.025)], "with learning_rate"), ([], "0 rec")]
)
def test_refuses_a_history_without_any_of_the_metrics(history: list[Any], found: str) -> None:
    with pytest.raises(ValueError, match=rf"train_accuracy.*{found}"):
        draw_curves(history, "The search")


def test_the_curve_of_an_error_is_in_its_own_unit() -> None:
    error = Metric("mean_absolute_error", "min")
    left, right = draw_curves([record(0, val_mean_absolute_error=2.5, val_loss=1.0)], "The search", (), error).axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("mean absolute error", "loss")
    assert list(left.lines[0].get_ydata()) == [2.5]  # type: ignore[arg-type]
