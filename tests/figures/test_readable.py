"""Every picture is a PNG in which no text covers another and none is cut off, for each of the search spaces."""

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from archselect.figures.cells import draw_cells
from archselect.figures.strengths import draw_operation_strengths, draw_topology_strengths
from archselect.figures.trajectories import draw_alpha, draw_curves
from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input

EDGES = [[source, target] for target in range(2, 6) for source in range(target)]
DARTS = ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
NASBENCH201 = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


def darts_family(operations: list[list[str]]) -> dict[str, Any]:
    return {"cells": {name: {"edges": EDGES, "operations": operations} for name in ("normal", "reduction")}}


SPACES: dict[str, dict[str, Any]] = {
    "darts": darts_family([DARTS] * 14),
    "s1": darts_family([["dil_conv_3x3", "dil_conv_5x5"] if edge % 3 else DARTS[:2] for edge in range(14)]),
    "one edge": {"cells": {"cell": {"edges": [[0, 1]], "operations": [["skip_connect", "noise"]]}}},
    "s2": darts_family([["skip_connect", "sep_conv_3x3"]] * 14),
    "nasbench201": {
        "cells": {
            "cell": {
                "edges": [[source, target] for target in range(1, 4) for source in range(target)],
                "operations": [NASBENCH201] * 6,
            }
        }
    },
}
GENOTYPES = {
    "darts": PUBLISHED["darts_pt_s5_3"],
    "flat": PUBLISHED["DARTS_V1"],
    "nasbench201": Genotype.from_nasbench201(
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
    ),
    "all edges": Genotype(
        (CellGenotype("normal", 2, tuple(tuple(Input(DARTS[j], j) for j in range(2 + i)) for i in range(4))),)
    ),
    "own operation": Genotype.from_text("cell:1:an_operation_with_quite_a_long_name@0/skip_connect@0"),
}


def history(space: dict[str, Any], epochs: int) -> list[dict[str, Any]]:
    draw = random.Random(0)

    def weights(operations: list[str]) -> list[float]:
        raw = [draw.random() for _ in operations]
        return [value / sum(raw) for value in raw]

    metrics = {"train_loss": 1.0, "val_loss": 1.2, "train_accuracy": 0.5, "val_accuracy": 0.4}
    return [
        {
            "epoch": epoch,
            "metrics": {name: value * (1 + epoch / epochs) for name, value in metrics.items()},
            "alpha": {name: [weights(edge) for edge in cell["operations"]] for name, cell in space["cells"].items()},
        }
        for epoch in range(epochs)
    ]


def operation_decisions(space: dict[str, Any]) -> list[dict[str, Any]]:
    draw = random.Random(0)
    decisions = []
    for name, cell in space["cells"].items():
        for point, (edge, operations) in enumerate(zip(cell["edges"], cell["operations"], strict=True)):
            scores = [{"candidate": each, "accuracy": 0.6 + 0.1 * draw.random(), "loss": 1.0} for each in operations]
            decision = {"cell": name, "kind": "operation", "point": point, "epoch": 5 * point, "edge_states": edge}
            decision |= {"candidates": operations, "scores": scores, "kept": operations[0]}
            decisions.append(decision | {"unmasked": {"accuracy": 0.72, "loss": 0.9}})
    return decisions


def topology_decisions() -> list[dict[str, Any]]:
    draw = random.Random(0)
    decisions = []
    for point, node in enumerate((4, 3, 5)):
        candidates = [[source, node] for source in range(node)]
        scores = [
            {"round": index, "candidate": edge, "accuracy": draw.random(), "loss": 1.0}
            for index in range(node - 2)
            for edge in candidates[index:]
        ]
        decision = {"cell": "normal", "kind": "topology", "point": 14 + point, "node": node, "scores": scores}
        decisions.append(decision | {"candidates": candidates, "kept": candidates[-2:]})
    return decisions


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox]]:
    """Every text that is drawn while the test runs, with its box in pixels from the lower left corner."""
    texts: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def observed(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            texts.append((text.get_text(), text.get_window_extent(renderer)))

    monkeypatch.setattr(Text, "draw", observed)
    return texts


def check(path: Path, expected: Path, drawn: list[tuple[str, Bbox]]) -> None:
    assert path == expected
    with Image.open(path) as image:
        assert image.format == "PNG"
        width, height = image.size
    assert drawn
    for name, box in drawn:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, f"{name!r} is cut off"
    for (name, box), (other_name, other) in combinations(drawn, 2):
        apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
        assert apart, f"{name!r} covers {other_name!r}"


@pytest.mark.parametrize("name", GENOTYPES)
def test_cells_read_well(name: str, drawn: list[tuple[str, Bbox]], tmp_path: Path) -> None:
    path = tmp_path / "figures" / "cells.png"
    check(draw_cells(GENOTYPES[name], path), path, drawn)


@pytest.mark.parametrize(
    ("name", "epochs"), [("darts", 50), ("s1", 50), ("nasbench201", 100), ("nasbench201", 1), ("one edge", 2)]
)
def test_trajectories_of_alpha_read_well(name: str, epochs: int, drawn: list[tuple[str, Bbox]], tmp_path: Path) -> None:
    path = tmp_path / "alpha.png"
    check(draw_alpha(history(SPACES[name], epochs), SPACES[name], path), path, drawn)


@pytest.mark.parametrize("epochs", [1, 600])
def test_training_curves_read_well(epochs: int, drawn: list[tuple[str, Bbox]], tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    check(draw_curves(history(SPACES["nasbench201"], epochs), path), path, drawn)


@pytest.mark.parametrize("name", SPACES)
def test_strengths_of_operations_read_well(name: str, drawn: list[tuple[str, Bbox]], tmp_path: Path) -> None:
    path = tmp_path / "strengths.png"
    check(draw_operation_strengths(operation_decisions(SPACES[name]), path), path, drawn)


def test_strengths_of_inputs_read_well(drawn: list[tuple[str, Bbox]], tmp_path: Path) -> None:
    path = tmp_path / "topology.png"
    check(draw_topology_strengths(topology_decisions(), path), path, drawn)


def test_refuses_to_write_anything_but_png(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.png; got .*cells\.gif"):
        draw_cells(GENOTYPES["darts"], tmp_path / "cells.gif")
