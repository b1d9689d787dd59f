import math
from collections.abc import Mapping

import pytest
import torch

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.search_stage import describe_supernet


def cell_supernet(*operations: str) -> Supernet:
    """One cell type, `cell`, of two nodes and three edges."""
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (operations,) * 3)
    return NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=3)


def darts_supernet(*operations: str) -> Supernet:
    """Two cell types of two nodes and five edges."""
    topology = CellTopology(2, 2, "concat", 2)
    cells = {name: CellSpace(name, topology, (operations,) * 5) for name in ("normal", "reduction")}
    return DartsSupernet(cells, channels=2, layers=3, classes=3)


def decide(supernet: Supernet, cell: str, operations: Mapping[int, int]) -> None:
    decisions = supernet.decisions[cell]
    for edge, operation in operations.items():
        decisions = decisions.keep_operation(edge, operation)
    supernet.decisions = {**supernet.decisions, cell: decisions}


def test_entropy_is_the_mean_over_edges_of_the_mixture_weights() -> None:
    supernet = cell_supernet("skip_connect", "nor_conv_1x1")
    with torch.no_grad():
        supernet.alphas["cell"].copy_(torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [0.0, 0.0]]))
    decide(supernet, "cell", {2: 1})
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    described = describe_supernet(supernet)
    assert described["entropy"]["cell"] == pytest.approx((math.log(2) + quarter + 0) / 3)
    assert described["alpha"]["cell"][1] == pytest.approx([0.25, 0.75])
    assert described["alpha"]["cell"][2] == [0, 1]


def test_the_share_of_skip_connections_counts_the_strongest_operation_of_every_edge() -> None:
    supernet = cell_supernet("skip_connect", "nor_conv_1x1")
    with torch.no_grad():
        supernet.alphas["cell"].copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    assert describe_supernet(supernet)["skip_share"] == pytest.approx(2 / 3)
    decide(supernet, "cell", {0: 1})
    assert describe_supernet(supernet)["skip_share"] == pytest.approx(1 / 3)


def test_a_dropped_edge_is_no_skip_connection() -> None:
    supernet = darts_supernet("skip_connect", "sep_conv_3x3")
    for cell in ("normal", "reduction"):
        decide(supernet, cell, dict.fromkeys(range(5), 1))
    assert describe_supernet(supernet)["skip_share"] == 0
    space = supernet.cell_spaces["normal"]
    decisions = supernet.decisions["normal"].keep_inputs(space, 3, (2, 3))
    supernet.decisions = {**supernet.decisions, "normal": decisions}
    assert not any(describe_supernet(supernet)["alpha"]["normal"][4])
    assert describe_supernet(supernet)["skip_share"] == 0


def test_the_genotype_is_that_of_magnitude_under_the_decisions_so_far() -> None:
    supernet = cell_supernet("skip_connect", "nor_conv_1x1")
    with torch.no_grad():
        supernet.alphas["cell"].copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    assert describe_supernet(supernet)["genotype"] == "cell:1:skip_connect@0/nor_conv_1x1@0+skip_connect@1"
    decide(supernet, "cell", {0: 1})
    assert describe_supernet(supernet)["genotype"] == "cell:1:nor_conv_1x1@0/nor_conv_1x1@0+skip_connect@1"
    assert supernet.decisions["cell"].undecided_edges == (1, 2)
