"""Trajectories and curves show the numbers of the records, under the right edge and in the right unit."""

from typing import Any

import pytest
from matplotlib.lines import Line2D

from archselect.figures.palette import STYLES
from archselect.figures.trajectories import draw_alpha, draw_curves

SPACE = {
    "cells": {
        "normal": {
            "edges": [[0, 2], [1, 2]],
            "operations": [["skip_connect", "sep_conv_3x3"], ["none", "skip_connect", "sep_conv_3x3"]],
        }
    }
}


def record(epoch: int, **metrics: float) -> dict[str, Any]:
    share = 0.1 * epoch
    alpha = {"normal": [[0.5 + share, 0.5 - share], [0.2, 0.3 + share, 0.5 - share]]}
    return {"epoch": epoch, "metrics": metrics, "alpha": alpha}


def drawn(line: Line2D) -> list[tuple[float, float]]:
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]  # type: ignore[arg-type]


def test_each_edge_shows_the_weights_of_its_own_operations() -> None:
    figure = draw_alpha([record(0), record(1)], SPACE)

    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["(0,2)", "(1,2)"]
    by_colour = {str(line.get_color()): drawn(line) for line in panels["(1,2)"].lines}
    assert by_colour == {
        STYLES["none"].colour: [(0, 0.2), (1, 0.2)],
        STYLES["skip_connect"].colour: [(0, 0.3), (1, 0.4)],
        STYLES["sep_conv_3x3"].colour: [(0, 0.5), (1, 0.4)],
    }
    assert len(panels["(0,2)"].lines) == 2


def test_all_edges_share_their_scale() -> None:
    figure = draw_alpha([record(0), record(3)], SPACE)

    limits = [axes.get_ylim() for axes in figure.axes]
    assert limits == [pytest.approx((0, 0.8 * 1.06))] * 2


def test_one_legend_names_every_operation_once() -> None:
    figure = draw_alpha([record(0)], SPACE)

    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["skip_connect", "sep_conv_3x3", "none"]


def test_refuses_a_history_of_another_space() -> None:
    other = {"cells": {"normal": {"edges": [[0, 2]], "operations": [["skip_connect", "sep_conv_3x3"]]}}}
    with pytest.raises(ValueError, match=r"\[2\] operations .* normal cell, but alpha at epoch 4 has \[2, 3\]"):
        draw_alpha([record(4)], other)


def test_refuses_an_empty_history() -> None:
    with pytest.raises(ValueError, match="no records"):
        draw_alpha([], SPACE)
    with pytest.raises(ValueError, match="0 record"):
        draw_curves([])


def test_curves_show_accuracy_in_percent_and_leave_out_what_was_not_measured() -> None:
    history = [record(0, train_accuracy=0.25, train_loss=2.0), record(1, train_accuracy=0.5, train_loss=1.0)]
    history.append(record(2, train_accuracy=0.75, train_loss=0.5, val_accuracy=0.7))
    figure = draw_curves(history)

    accuracy, loss = figure.axes
    assert "%" in accuracy.get_ylabel()
    assert {str(line.get_label()): drawn(line) for line in accuracy.lines} == {
        "training": [(0, 25), (1, 50), (2, 75)],
        "validation": [(2, 70)],
    }
    assert {str(line.get_label()): drawn(line) for line in loss.lines} == {"training": [(0, 2), (1, 1), (2, 0.5)]}


def test_refuses_a_history_without_any_of_the_metrics() -> None:
    with pytest.raises(ValueError, match=r"train_accuracy.*with learning_rate\."):
        draw_curves([record(0, learning_rate=0.025)])
