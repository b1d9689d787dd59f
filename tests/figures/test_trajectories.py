"""Trajectories and curves show the numbers of the records, under the right edge and in the right unit."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
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


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: saved.append(figure))
    return saved


def drawn(line: Line2D) -> list[tuple[float, float]]:
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]  # type: ignore[arg-type]


def test_each_edge_shows_the_weights_of_its_own_operations(figures: list[Figure], tmp_path: Path) -> None:
    draw_alpha([record(0), record(1)], SPACE, tmp_path / "alpha.png")

    panels = {axes.get_title(loc="left"): axes for axes in figures[0].axes}
    assert list(panels) == ["(0,2)", "(1,2)"]
    by_colour = {str(line.get_color()): drawn(line) for line in panels["(1,2)"].lines}
    assert by_colour == {
        STYLES["none"].colour: [(1, 0.2), (2, 0.2)],
        STYLES["skip_connect"].colour: [(1, 0.3), (2, 0.4)],
        STYLES["sep_conv_3x3"].colour: [(1, 0.5), (2, 0.4)],
    }
    assert len(panels["(0,2)"].lines) == 2


def test_all_edges_share_their_scale(figures: list[Figure], tmp_path: Path) -> None:
    draw_alpha([record(0), record(3)], SPACE, tmp_path / "alpha.png")

    limits = [axes.get_ylim() for axes in figures[0].axes]
    assert limits == [pytest.approx((0, 0.8 * 1.06))] * 2


def test_one_legend_names_every_operation_once(figures: list[Figure], tmp_path: Path) -> None:
    draw_alpha([record(0)], SPACE, tmp_path / "alpha.png")

    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["skip_connect", "sep_conv_3x3", "none"]


def test_refuses_a_history_of_another_space(tmp_path: Path) -> None:
    other = {"cells": {"normal": {"edges": [[0, 2]], "operations": [["skip_connect", "sep_conv_3x3"]]}}}
    with pytest.raises(ValueError, match=r"\[2\] operations .* normal cell, but alpha at epoch 4 has \[2, 3\]"):
        draw_alpha([record(4)], other, tmp_path / "alpha.png")


def test_refuses_an_empty_history(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no records"):
        draw_alpha([], SPACE, tmp_path / "alpha.png")
    with pytest.raises(ValueError, match="0 record"):
        draw_curves([], tmp_path / "curves.png")


def test_curves_show_accuracy_in_percent_and_leave_out_what_was_not_measured(
    figures: list[Figure], tmp_path: Path
) -> None:
    history = [record(0, train_accuracy=0.25, train_loss=2.0), record(1, train_accuracy=0.5, train_loss=1.0)]
    history.append(record(2, train_accuracy=0.75, train_loss=0.5, val_accuracy=0.7))
    draw_curves(history, tmp_path / "curves.png")

    accuracy, loss = figures[0].axes
    assert "%" in accuracy.get_ylabel()
    assert {str(line.get_label()): drawn(line) for line in accuracy.lines} == {
        "training": [(1, 25), (2, 50), (3, 75)],
        "validation": [(3, 70)],
    }
    assert {str(line.get_label()): drawn(line) for line in loss.lines} == {"training": [(1, 2), (2, 1), (3, 0.5)]}


def test_refuses_a_history_without_any_of_the_metrics(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train_accuracy.*with learning_rate\."):
        draw_curves([record(0, learning_rate=0.025)], tmp_path / "curves.png")
