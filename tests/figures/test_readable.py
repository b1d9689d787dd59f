"""In every picture no text covers another and none is cut off, for each of the search spaces."""

import random
from collections.abc import Callable, Sequence
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from archselect.analysis.discretization_accuracy import draw_edge_predictors
from archselect.analysis.landscape import draw_landscape
from archselect.analysis.operation_strength import Quantity, draw_operation_bars
from archselect.analysis.seeds import draw_seeds
from archselect.analysis.selection_curve import draw_selection_curve
from archselect.analysis.shuffle import draw_shuffle
from archselect.analysis.skip_dominance import draw_skip_dominance
from archselect.analysis.trajectory import Panel as SelectionPanel
from archselect.analysis.trajectory import draw_selection_trajectory
from archselect.analysis.true_strength import draw_true_strength
from archselect.figures.cells import draw_cells, draw_cells_of
from archselect.figures.strengths import draw_operation_strengths, draw_topology_strengths
from archselect.figures.style import save
from archselect.figures.trajectories import draw_alpha, draw_alpha_map, draw_curves
from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input

Check = Callable[[Figure], None]

EDGES = [[source, target] for target in range(2, 6) for source in range(target)]
DARTS = ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
NASBENCH201 = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


def darts_family(operations: list[list[str]]) -> dict[str, Any]:
    return {"cells": {name: {"edges": EDGES, "operations": operations} for name in ("normal", "reduction")}}


SPACES: dict[str, dict[str, Any]] = {
    "darts": darts_family([DARTS] * 14),
    "s1": darts_family([["dil_conv_3x3", "dil_conv_5x5"] if edge % 3 else DARTS[:2] for edge in range(14)]),
    "one edge": {"cells": {"cell": {"edges": [[0, 1]], "operations": [["skip_connect", "noise"]]}}},
    "many operations": {
        "cells": {"cell": {"edges": [[0, 1], [0, 2]], "operations": [[f"an_own_operation_{n}" for n in range(11)]] * 2}}
    },
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
        decision = {"cell": "normal", "kind": "topology", "point": 14 + point, "epoch": 14 + point, "node": node}
        decisions.append(decision | {"scores": scores, "candidates": candidates, "kept": candidates[-2:]})
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


WIDEST = 1600
"""Pixels that a page shows without shrinking the text beyond what can be read."""


@pytest.fixture
def check(drawn: list[tuple[str, Bbox]], tmp_path: Path) -> Check:
    """Write a figure, and check all its texts."""

    def written(figure: Figure) -> None:
        path = save(figure, tmp_path / "figures" / "picture")
        assert path == tmp_path / "figures" / "picture.png"
        with Image.open(path) as image:
            assert image.format == "PNG"
            width, height = image.size
        assert width <= WIDEST
        assert drawn
        for name, box in drawn:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, f"{name!r} is cut off"
        for (name, box), (other_name, other) in combinations(drawn, 2):
            apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
            assert apart, f"{name!r} covers {other_name!r}"

    return written


def test_a_title_that_is_too_long_is_wrapped(check: Check) -> None:
    check(draw_curves(history(SPACES["one edge"], 3), "A title of many words that says what is seen and how. " * 3))


@pytest.mark.parametrize("name", GENOTYPES)
def test_cells_read_well(name: str, check: Check) -> None:
    check(draw_cells(GENOTYPES[name]))


def test_cells_of_several_architectures_stand_side_by_side_only_where_that_is_not_too_wide(check: Check) -> None:
    chain = Genotype.from_text("cell:1:" + "/".join(f"sep_conv_3x3@{node}" for node in range(4)))
    flat = Genotype.from_text("cell:1:sep_conv_3x3@0")

    deep = draw_cells_of([("magnitude", chain), ("perturb", chain)], beside=2)
    assert len({axes.get_position().x0 for axes in deep.axes}) == 1
    check(deep)
    assert len({axes.get_position().x0 for axes in draw_cells_of([("a", flat), ("b", flat)], beside=2).axes}) == 2


def test_a_cell_of_many_layers_is_no_wider_than_other_pictures(check: Check) -> None:
    check(draw_cells(Genotype.from_text("cell:1:" + "/".join(f"none@{node}" for node in range(12)))))


@pytest.mark.parametrize(
    ("name", "epochs"), [("darts", 50), ("s1", 50), ("nasbench201", 100), ("nasbench201", 1), ("one edge", 2)]
)
def test_trajectories_of_alpha_read_well(name: str, epochs: int, check: Check) -> None:
    check(draw_alpha(history(SPACES[name], epochs), SPACES[name]))


@pytest.mark.parametrize(("name", "epochs"), [("darts", 50), ("s1", 3), ("one edge", 1), ("many operations", 9)])
def test_maps_of_alpha_read_well(name: str, epochs: int, check: Check) -> None:
    check(draw_alpha_map(history(SPACES[name], epochs), SPACES[name]))


@pytest.mark.parametrize("epochs", [1, 600])
def test_training_curves_read_well(epochs: int, check: Check) -> None:
    title = "The selection: accuracy and loss of the supernet while it is discretised"
    check(draw_curves(history(SPACES["nasbench201"], epochs), title, topology_decisions()))


@pytest.mark.parametrize("name", SPACES)
def test_strengths_of_operations_read_well(name: str, check: Check) -> None:
    check(draw_operation_strengths(operation_decisions(SPACES[name])))


def test_strengths_of_inputs_read_well(check: Check) -> None:
    check(draw_topology_strengths(topology_decisions()))


@pytest.mark.parametrize("name", ["darts", "one edge", "many operations"])
def test_bars_of_operations_read_well(name: str, check: Check) -> None:
    rows = [
        {"cell": cell, "edge": "({},{})".format(*edge), "operation": operation, "alpha": 0.1 * index, "strength": -0.01}
        for cell, space in SPACES[name]["cells"].items()
        for edge, operations in zip(space["edges"], space["operations"], strict=True)
        for index, operation in enumerate(operations)
    ]
    quantities = [Quantity("alpha", "softmax(α)"), Quantity("strength", "accuracy lost\nwithout it (points)", 100)]
    check(draw_operation_bars(rows, "softmax(α) and perturbation strength of the operations", quantities))


def seeds_of(selections: Sequence[str], runs: int, name: str) -> Figure:
    frequencies = [
        {"selection": selection, "cell": cell, "edge": "({},{})".format(*edge), "operation": operation, "runs": runs}
        | {"share": float(index == 0)}
        for selection in selections
        for cell, space in SPACES[name]["cells"].items()
        for edge, operations in zip(space["edges"], space["operations"], strict=True)
        for index, operation in enumerate(operations)
    ]
    pairs = combinations_with_replacement(selections, 2)
    agreement = [{"one": one, "other": other, "share": None if runs == 1 else 0.5} for one, other in pairs]
    count = range(runs * len(selections))
    accuracy = [{"selection": selections[run % len(selections)], "skips": run, "accuracy": 90.0 + run} for run in count]
    return draw_seeds(frequencies, agreement, accuracy)


@pytest.mark.parametrize(
    ("selections", "runs", "name"),
    [
        (["perturb"], 1, "s2"),
        (["perturb"], 3, "one edge"),
        (["magnitude", "perturb", "a_selection_with_a_long_name"], 2, "darts"),
    ],
)
def test_what_seeds_chose_reads_well(selections: list[str], runs: int, name: str, check: Check) -> None:
    check(seeds_of(selections, runs, name))


def test_of_one_run_there_is_what_it_chose_and_nothing_that_compares() -> None:
    figure = seeds_of(["perturb"], 1, "s2")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "perturb",
        "perturb",
    ]  # of the normal, the reduction
    assert len(seeds_of(["perturb"], 2, "s2").axes) == 4


@pytest.mark.parametrize("nodes", [0, 3])
def test_the_accuracy_along_selections_reads_well(nodes: int, check: Check) -> None:
    rows = [
        {"selection": name, "epoch": epoch, "val_accuracy": 0.9 - 0.01 * epoch}
        | {"edges_decided": min(epoch, 14), "nodes_decided": min(nodes, max(0, epoch - 14))}
        for name in ("perturb", "perturb_magnitude", "perturb_random")
        for epoch in range(18)
    ]
    check(draw_selection_curve(rows))


def test_what_is_chosen_along_a_search_reads_well(check: Check) -> None:
    names = [f"quantity {index}" for index in range(5)]
    rows = [
        {"selection": selection, "epoch": epoch} | {name: 0.1 * epoch for name in names}
        for selection in ("magnitude", "perturb")
        for epoch in (4, 8, 24)
    ]
    check(draw_selection_trajectory(rows, [SelectionPanel(name, name, "accuracy (%)", 100) for name in names]))


@pytest.mark.parametrize("epochs", [1, 24])
def test_the_lead_of_skip_connections_reads_well(epochs: int, check: Check) -> None:
    check(draw_skip_dominance([{"epoch": n, "val_accuracy": n / 40, "lead": -n / 50} for n in range(1, epochs + 1)]))


@pytest.mark.parametrize("epochs", [1, 10])
def test_curvature_and_landscape_read_well(epochs: int, check: Check) -> None:
    grid = [-1.0, -0.5, 0.0, 0.5, 1.0]
    plane = [{"x": x, "y": y, "accuracy": 0.5 + x * y / 4} for x in grid for y in grid]
    check(draw_landscape([{"epoch": n, "eigenvalue": 0.1 * n} for n in range(1, epochs + 1)], plane))


def test_networks_after_a_shuffle_read_well(check: Check) -> None:
    rows = [{"before": 0.5, "after": 0.1 * draw, "chance": 0.1} for draw in range(4)]
    check(draw_shuffle([row | {"network": network} for network in ("vgg", "resnet", "supernet") for row in rows]))


@pytest.mark.parametrize("operations", [["skip_connect", "sep_conv_3x3"], DARTS])
def test_predictors_of_edges_read_well(operations: list[str], check: Check) -> None:
    rows = [
        {"cell": "reduction", "edge": f"({edge},4)", "operation": operation, "alpha": 0.1 * index}
        | {"strength": 0.01 - 0.005 * index, "accuracy_at_convergence": 0.45 + 0.001 * index}
        for edge in range(4)
        for index, operation in enumerate(operations)
    ]
    check(draw_edge_predictors(rows))


def test_true_strengths_read_well(check: Check) -> None:
    strengths = [
        {"edge": "({},{})".format(*edge), "operation": name, "true_mean": 80.0 + index, "true_conditional": 90.0}
        for edge in SPACES["nasbench201"]["cells"]["cell"]["edges"]
        for index, name in enumerate(NASBENCH201)
    ]
    correlations = [
        {"predictor": predictor, "truth": truth, "tau": tau, "low": None if tau is None else -0.2, "high": 0.6}
        for truth in ("true_mean", "true_best", "true_conditional")
        for predictor, tau in (("alpha", -0.1), ("masking", 0.4), ("parameters", None))
    ]
    check(draw_true_strength(strengths, correlations, "CIFAR-10 test accuracy"))


def test_epochs_stand_at_whole_numbers_even_where_there_is_one(tmp_path: Path) -> None:
    figure = draw_curves(history(SPACES["s2"], 1), "The search")
    save(figure, tmp_path / "curves")
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert len(ticks) >= 2 and all(tick == round(tick) for tick in ticks)
