"""In every picture no text covers another and none is cut off, for each of the search spaces."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from omegaconf import OmegaConf
from PIL import Image
from tests.command import CONFIGS

from archselect.figures.cells import draw_cells, draw_cells_of
from archselect.figures.strengths import (
    Quantity,
    draw_operation_bars,
    draw_operation_strengths,
    draw_topology_strengths,
)
from archselect.figures.style import save
from archselect.figures.trajectories import draw_alpha, draw_alpha_map, draw_curves
from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input

Rows = list[dict[str, Any]]

EDGES = [[source, target] for target in range(2, 6) for source in range(target)]
DARTS = ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
NASBENCH201 = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
LONG = "A title of many words that says what is seen and how. "


def space(edges: list[list[int]], operations: list[list[str]], *cells: str) -> dict[str, Any]:
    return {"cells": {name: {"edges": edges, "operations": operations} for name in cells}}


SPACES = {
    "darts": space(EDGES, [DARTS] * 14, "normal", "reduction"),
    "s1": space(EDGES, [DARTS[5:] if edge % 3 else DARTS[:2] for edge in range(14)], "normal", "reduction"),
    "s2": space(EDGES, [["skip_connect", "sep_conv_3x3"]] * 14, "normal", "reduction"),
    "nasbench201": space([[s, t] for t in range(1, 4) for s in range(t)], [NASBENCH201] * 6, "cell"),
    "one edge": space([[0, 1]], [["skip_connect", "noise"]], "cell"),
    "many operations": space([[0, 1], [0, 2]], [[f"an_own_operation_{n}" for n in range(11)]] * 2, "cell"),
}
CHAIN = Genotype.from_text("cell:1:" + "/".join(f"sep_conv_3x3@{node}" for node in range(4)))
SMALL = Genotype.from_text("cell:1:sep_conv_3x3@0")
TWO_CELLS = Genotype.from_text("normal:2:noise@0+noise@1/none@0+none@1//reduce:2:noise@0/none@1")
GENOTYPES = {
    "darts": PUBLISHED["darts_pt_s5_3"],
    "nasbench201": Genotype.from_nasbench201(
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
    ),
    "all edges": Genotype(
        (CellGenotype("normal", 2, tuple(tuple(Input(DARTS[j], j) for j in range(2 + i)) for i in range(4))),)
    ),
    "own operation": Genotype.from_text("cell:1:an_operation_with_quite_a_long_name@0/skip_connect@0"),
    "many layers": Genotype.from_text("cell:1:" + "/".join(f"none@{node}" for node in range(12))),
}


def table(more: Callable[..., dict[str, Any]], **columns: Sequence[Any]) -> Rows:
    """Return a row for every combination of values of columns, with `more` that follows from them."""
    combined = (dict(zip(columns, values, strict=True)) for values in product(*columns.values()))
    return [row | more(**row) for row in combined]


def on_edges(name: str) -> Iterator[dict[str, Any]]:
    """Yield every edge of a space with its operations."""
    for cell, about in SPACES[name]["cells"].items():
        for edge, operations in zip(about["edges"], about["operations"], strict=True):
            yield {"cell": cell, "edge_states": edge, "edge": "({},{})".format(*edge), "candidates": operations}


def on_operations(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every operation on every edge of a space with its index."""
    for edge in on_edges(name):
        for index, operation in enumerate(edge["candidates"]):
            yield index, {"cell": edge["cell"], "edge": edge["edge"], "operation": operation}


def history(name: str, epochs: int) -> Rows:
    draw, cells = np.random.default_rng(0), SPACES[name]["cells"]

    def record(epoch: int) -> dict[str, Any]:
        metrics = {"train_loss": 1.0, "val_loss": 1.2, "train_accuracy": 0.5, "val_accuracy": 0.4}
        return {
            "metrics": {metric: value * (1 + epoch / epochs) for metric, value in metrics.items()},
            "alpha": {c: [draw.dirichlet([1] * len(edge)) for edge in cells[c]["operations"]] for c in cells},
        }

    return table(record, epoch=range(epochs))


def alpha(draw: Callable[..., Figure], name: str, epochs: int) -> Figure:
    return draw(history(name, epochs), SPACES[name])


def curves(epochs: int) -> Figure:
    title = "The selection: accuracy and loss of the supernet while it is discretised"
    return draw_curves(history("nasbench201", epochs), title, topology_decisions())


def operation_strengths(name: str) -> Figure:
    draw = random.Random(0)
    decisions = []
    for point, edge in enumerate(on_edges(name)):
        scores = [{"candidate": each, "accuracy": 0.6 + 0.1 * draw.random()} for each in edge["candidates"]]
        decision = {"kind": "operation", "point": point, "epoch": 5 * point, "unmasked": {"accuracy": 0.72}}
        decisions.append(edge | decision | {"scores": scores, "kept": edge["candidates"][0]})
    return draw_operation_strengths(decisions)


def topology_decisions() -> Rows:
    draw = random.Random(0)
    decisions = []
    for point, node in enumerate((4, 3, 5), start=14):
        edges = [[source, node] for source in range(node)]
        rounds = [(index, edge) for index in range(node - 2) for edge in edges[index:]]
        scores = [{"round": index, "candidate": edge, "accuracy": draw.random()} for index, edge in rounds]
        decision = {"cell": "normal", "kind": "topology", "point": point, "epoch": point, "node": node}
        decisions.append(decision | {"scores": scores, "candidates": edges, "kept": edges[-2:]})
    return decisions


def bars(name: str) -> Figure:
    rows = [row | {"alpha": 0.1 * index, "strength": -0.01} for index, row in on_operations(name)]
    quantities = [Quantity("alpha", "softmax(α)"), Quantity("strength", "accuracy lost\nwithout it (points)", 100)]
    return draw_operation_bars(rows, "softmax(α) and perturbation strength of the operations", quantities)


def analysis(name: str, **tables: Rows) -> Figure:
    """Draw tables as the analysis of that name, with the options of its file, draws them."""
    options = OmegaConf.load(CONFIGS / "analysis" / f"{name}.yaml")
    own = options if "analysis" in options else {"analysis": options}
    return instantiate(OmegaConf.merge({"protocol": {"scoring_batches": 1}}, own)["analysis"]).draw(tables)


def seeds(selections: Sequence[str], runs: int, name: str) -> Figure:
    frequencies = [
        {"selection": selection, **row, "runs": runs, "share": float(index == 0)}
        for selection in selections
        for index, row in on_operations(name)
    ]
    pairs = combinations_with_replacement(selections, 2)
    agreement = [{"one": one, "other": other, "share": None if runs == 1 else 0.5} for one, other in pairs]
    accuracy = table(lambda skips, **_: {"accuracy": 90.0 + skips}, selection=selections, skips=range(runs))
    return analysis("seeds", frequencies=frequencies, agreement=agreement, accuracy=accuracy)


def selection_curve(nodes: int) -> Figure:
    def decided(epoch: int, **_: str) -> dict[str, float]:
        counts = {"edges_decided": min(epoch, 14), "nodes_decided": min(nodes, max(0, epoch - 14))}
        return {"val_accuracy": 0.9 - 0.01 * epoch, **counts}

    selections = ["perturb", "perturb_magnitude", "perturb_random"]
    return analysis("selection_curve", epochs=table(decided, selection=selections, epoch=range(18)))


def trajectory() -> Figure:
    columns = ["cifar10_test", "cifar100_test", "imagenet16_120_test", "skip_share", "val_accuracy"]
    choices = table(
        lambda epoch, **_: dict.fromkeys(columns, 0.04 * epoch), selection=["magnitude", "perturb"], epoch=[4, 8, 24]
    )
    return analysis("trajectory", choices=choices)


def skip_dominance(epochs: int) -> Figure:
    rows = table(lambda epoch: {"val_accuracy": epoch / 40, "lead": -epoch / 50}, epoch=range(1, epochs + 1))
    return analysis("skip_dominance", epochs=rows)


def landscape(epochs: int) -> Figure:
    grid = [-1.0, -0.5, 0.0, 0.5, 1.0]
    plane = table(lambda x, y: {"accuracy": 0.5 + x * y / 4}, x=grid, y=grid)
    eigenvalues = table(lambda epoch: {"eigenvalue": 0.1 * epoch}, epoch=range(1, epochs + 1))
    return analysis("landscape", plane=plane, eigenvalues=eigenvalues)


def shuffle() -> Figure:
    networks, after = ["vgg", "resnet", "supernet"], [0.0, 0.1, 0.2, 0.3]
    return analysis("shuffle", draws=table(lambda **_: {"before": 0.5, "chance": 0.1}, network=networks, after=after))


def discretization_accuracy(operations: list[str]) -> Figure:
    def measured(operation: str, **_: str) -> dict[str, Any]:
        index = operations.index(operation)
        values = {"strength": 0.01 - 0.005 * index, "accuracy_at_convergence": 0.45 + 0.001 * index}
        return {"cell": "reduction", "alpha": 0.1 * index, **values}

    edges = ["(0,4)", "(1,4)", "(2,4)", "(3,4)"]
    return analysis("discretization_accuracy", operations=table(measured, edge=edges, operation=operations))


def true_strength() -> Figure:
    strengths = [
        row | {"true_mean": 80.0 + index, "true_conditional": 90.0} for index, row in on_operations("nasbench201")
    ]
    taus = {"alpha": (-0.1, -0.2), "masking": (0.4, 0.1), "parameters": (None, None)}
    correlations = table(
        lambda predictor, **_: {"tau": taus[predictor][0], "low": taus[predictor][1], "high": 0.6},
        truth=["true_mean", "true_best", "true_conditional"],
        predictor=list(taus),
    )
    return analysis("true_strength", strengths=strengths, correlations=correlations)


LINES = [("darts", 50), ("nasbench201", 100), ("nasbench201", 1), ("one edge", 2)]
MAPS = [("darts", 50), ("s1", 3), ("one edge", 1), ("many operations", 9)]
SEEDS: list[tuple[list[str], int, str]] = [(["perturb"], 1, "s2"), (["perturb"], 3, "one edge")]
SEEDS.append((["magnitude", "perturb", "a_selection_with_a_long_name"], 2, "darts"))

PICTURES: dict[str, Callable[[], Figure]] = {
    "a title that is wrapped": lambda: draw_curves(history("one edge", 3), LONG * 3),
    **{f"cells, {name}": partial(draw_cells, genotype) for name, genotype in GENOTYPES.items()},
    "cells, several": lambda: draw_cells_of([("magnitude", CHAIN), ("perturb", CHAIN)], beside=2),
    "cells, side by side": lambda: draw_cells_of(
        [("magnitude", SMALL), ("perturb", TWO_CELLS), ("random", SMALL)], beside=2
    ),
    **{f"alpha, {name} {epochs}": partial(alpha, draw_alpha, name, epochs) for name, epochs in LINES},
    **{f"map, {name} {epochs}": partial(alpha, draw_alpha_map, name, epochs) for name, epochs in MAPS},
    **{f"curves, {epochs}": partial(curves, epochs) for epochs in (1, 600)},
    **{f"strengths, {name}": partial(operation_strengths, name) for name in SPACES if name != "s2"},
    "strengths of inputs": lambda: draw_topology_strengths(topology_decisions()),
    **{f"bars, {name}": partial(bars, name) for name in ("darts", "one edge", "many operations")},
    **{f"seeds, {len(names)} {runs} {name}": partial(seeds, names, runs, name) for names, runs, name in SEEDS},
    **{f"selection_curve, {nodes}": partial(selection_curve, nodes) for nodes in (0, 3)},
    "trajectory": trajectory,
    **{f"skip_dominance, {epochs}": partial(skip_dominance, epochs) for epochs in (1, 24)},
    **{f"landscape, {epochs}": partial(landscape, epochs) for epochs in (1, 10)},
    "shuffle": shuffle,
    **{f"discretization_accuracy, {len(o)}": partial(discretization_accuracy, o) for o in (DARTS[2:4], DARTS)},
    "true_strength": true_strength,
}
WIDEST = 1600
"""Pixels that a page shows without shrinking the text beyond what can be read."""


@pytest.mark.parametrize("name", PICTURES)
def test_every_text_can_be_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def observed(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            texts.append((text.get_text(), text.get_window_extent(renderer)))

    monkeypatch.setattr(Text, "draw", observed)
    with Image.open(save(PICTURES[name](), tmp_path / "figures" / "picture")) as image:
        width, height = image.size
    assert width <= WIDEST
    assert texts
    for word, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, f"{word!r} is cut off"
    for (word, box), (other_word, other) in combinations(texts, 2):
        apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
        assert apart, f"{word!r} covers {other_word!r}"


def test_of_one_run_there_is_what_it_chose_and_nothing_that_compares() -> None:
    assert [axes.get_title(loc="left") for axes in seeds(["perturb"], 1, "s2").axes] == ["perturb"] * 2
    assert len(seeds(["perturb"], 2, "s2").axes) == 4
