"""Trajectories and curves show the numbers of the records, under the right edge and in the right unit."""

from typing import Any

import pytest
from matplotlib.lines import Line2D

from archselect.figures.style import STYLES
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
    alike, *lines = panels["(1,2)"].lines
    assert list(alike.get_ydata()) == [pytest.approx(1 / 3)] * 2
    by_colour = {str(line.get_color()): drawn(line) for line in lines}
    assert by_colour == {
        STYLES["none"].colour: [(1, 0.2), (2, 0.2)],
        STYLES["skip_connect"].colour: [(1, 0.3), (2, 0.4)],
        STYLES["sep_conv_3x3"].colour: [(1, 0.5), (2, 0.4)],
    }
    assert len(panels["(0,2)"].lines) == 3


def test_all_edges_share_their_scale() -> None:
    figure = draw_alpha([record(0), record(3)], SPACE)

    limits = [axes.get_ylim() for axes in figure.axes]
    assert limits == [pytest.approx((0.2 - 0.06 * 0.6, 0.8 + 0.06 * 0.6))] * 2  # the weights go from 0.2 to 0.8


def test_a_scale_is_not_so_narrow_that_rounding_looks_like_a_difference() -> None:
    equal = {"epoch": 1, "alpha": {"normal": [[0.5, 0.5]]}}
    space = {"cells": {"normal": {"edges": [[0, 2]], "operations": [["skip_connect", "sep_conv_3x3"]]}}}
    low, high = draw_alpha([equal], space).axes[0].get_ylim()
    assert high - low == pytest.approx(0.02 * 1.12)
    assert (low + high) / 2 == pytest.approx(0.5)


def test_one_legend_names_every_operation_once() -> None:
    figure = draw_alpha([record(0)], SPACE)

    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("skip_connect", "sep_conv_3x3", "none"),
        "1/n: all n operations alike",
    ]


def test_refuses_a_history_of_another_space() -> None:
    other = {"cells": {"normal": {"edges": [[0, 2]], "operations": [["skip_connect", "sep_conv_3x3"]]}}}
    with pytest.raises(ValueError, match=r"\[2\] operations .* normal cell, but alpha at epoch 4 has \[2, 3\]"):
        draw_alpha([record(4)], other)


def test_refuses_an_empty_history() -> None:
    with pytest.raises(ValueError, match="no records"):
        draw_alpha([], SPACE)
    with pytest.raises(ValueError, match="0 record"):
        draw_curves([], "The search")


def test_curves_show_accuracy_in_percent_and_leave_out_what_was_not_measured() -> None:
    history = [record(0, train_accuracy=0.25, train_loss=2.0), record(1, train_accuracy=0.5, train_loss=1.0)]
    history.append(record(2, train_accuracy=0.75, train_loss=0.5, val_accuracy=0.7))
    figure = draw_curves(history, "The search")

    accuracy, loss = figure.axes
    assert "%" in accuracy.get_ylabel()
    assert [drawn(line) for line in accuracy.lines] == [[(1, 25), (2, 50), (3, 75)], [(3, 70)]]
    assert [drawn(line) for line in loss.lines] == [[(1, 2), (2, 1), (3, 0.5)]]
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


def test_curves_say_what_they_are_of() -> None:
    figure = draw_curves([record(0, val_accuracy=0.5)], "The search: accuracy and loss of the supernet")
    assert figure.get_suptitle() == "The search: accuracy and loss of the supernet"


def test_refuses_a_history_without_any_of_the_metrics() -> None:
    with pytest.raises(ValueError, match=r"train_accuracy.*with learning_rate\."):
        draw_curves([record(0, learning_rate=0.025)], "The search")
