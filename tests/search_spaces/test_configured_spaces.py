"""The search spaces under configs/search_space are those of the papers."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from archselect.genotype import Genotype

CONFIGS = Path(__file__).parents[2] / "configs" / "search_space"

# Edge: normal, reduction (Zela et al., arXiv 1909.09656).
S1 = """
(0,2): skip dil3, max avg
(1,2): skip dil5, max dil3
(0,3): skip dil5, max avg
(1,3): skip sep3, max avg
(2,3): skip dil3, skip dil5
(0,4): max skip, max avg
(1,4): skip sep3, max sep3
(2,4): skip sep3, skip dil3
(3,4): skip dil3, skip dil5
(0,5): skip sep3, max avg
(1,5): max skip, max avg
(2,5): skip dil3, skip dil5
(3,5): dil3 dil5, skip dil5
(4,5): dil3 dil5, skip dil5
"""
SHORT = {
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
EDGES = [[int(line[1]), int(line[3])] for line in S1.strip().splitlines()]


def configured(name, **changes):
    return instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), **changes)


def test_s1_has_the_operations_of_the_table_on_each_edge():
    described = configured("s1").describe()["cells"]
    for column, cell in enumerate(("normal", "reduction")):
        rows = [line.split(": ")[1].split(", ")[column].split() for line in S1.strip().splitlines()]
        assert described[cell] == {"edges": EDGES, "operations": [[SHORT[name] for name in row] for row in rows]}


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("darts", "max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5"),
        ("s2", "skip_connect sep_conv_3x3"),
        ("s3", "none skip_connect sep_conv_3x3"),
        ("s4", "noise sep_conv_3x3"),
    ],
)
def test_the_other_spaces_of_the_darts_family_have_one_list_for_all_edges(name, operations):
    cell = {"edges": EDGES, "operations": [operations.split()] * 14}
    assert configured(name).describe() == {"cells": {"normal": cell, "reduction": cell}}


def test_nasbench201_has_one_cell_of_six_edges():
    operations = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    edges = [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]
    assert configured("nasbench201").describe() == {"cells": {"cell": {"edges": edges, "operations": [operations] * 6}}}


@pytest.mark.parametrize(
    ("name", "weights"), [("darts", 1_930_618), ("s2", 665_466), ("s3", 665_466), ("nasbench201", 1_686_106)]
)
def test_the_supernet_has_as_many_weights_as_the_official_one(name, weights):
    supernet = configured(name).supernet(image_size=32, classes=10)
    assert sum(weight.numel() for weight in supernet.weight_parameters()) == weights


@pytest.mark.parametrize(
    ("code", "weights"),
    [
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|", 1_073_466),
        ("|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|", 73_306),
    ],
    ids=["6111", "all skip"],
)
def test_a_network_of_nasbench201_has_as_many_weights_as_the_benchmark_says(code, weights):
    network = configured("nasbench201").network(Genotype.parse(code), image_size=32, classes=10)
    assert network.parameter_count() == weights
