"""Magnitude and chance."""

from collections import Counter
from typing import Any

import pytest
from tests.selection.judge import decided_by, inputs_kept, operations_kept
from tests.selection.small_cells import THREE, WIDE_CELL, apply, cell, two_cells, undecided

from archselect.selection import Magnitude, OperationDecision, Random

# none, skip_connect, sep_conv_3x3: edges 0-1 feed node 2, edges 2-4 node 3, edges 5-8 node 4
S3_WEIGHTS = [
    *([0.1, 0.6, 0.3], [0.1, 0.2, 0.7]),
    *([0.8, 0.11, 0.09], [0.1, 0.4, 0.5], [0.5, 0.3, 0.2]),
    *([0.1, 0.44, 0.46], [0.2, 0.45, 0.35], [0.05, 0.48, 0.47], [0.9, 0.04, 0.06]),
]


def s3() -> Any:
    space = cell("cell", ("none", "skip_connect", "sep_conv_3x3"), WIDE_CELL)
    return undecided(space, weights={"cell": S3_WEIGHTS})


def test_keeps_the_largest_weights_but_never_none_where_nodes_choose_their_inputs() -> None:
    supernet = s3()
    decided_by(Magnitude(), supernet)
    assert supernet.genotype().cell("cell").edges == (
        *((0, 2, "skip_connect"), (1, 2, "sep_conv_3x3")),
        *((1, 3, "sep_conv_3x3"), (2, 3, "skip_connect")),  # 0.11, 0.5, 0.3
        *((0, 4, "sep_conv_3x3"), (2, 4, "skip_connect")),  # 0.46, 0.45, 0.48, 0.06
    )


def test_none_is_kept_where_all_edges_stay() -> None:
    supernet = undecided(cell("cell", ("none", "skip_connect")), weights={"cell": [[0.6, 0.4], [0.4, 0.6], [0.5, 0.5]]})
    assert [d.operation for d in decided_by(Magnitude(), supernet)] == [0, 1, 0]


def test_of_equal_weights_the_first_operation_and_the_first_inputs_are_kept() -> None:
    decided = decided_by(Magnitude(), undecided(cell("cell", ("skip_connect", "sep_conv_3x3"), WIDE_CELL)))
    assert set(operations_kept(decided).values()) == {0}
    assert inputs_kept(decided) == {("cell", 3): (2, 3), ("cell", 4): (5, 6)}


def test_weights_of_operations_that_an_edge_does_not_have_count_for_nothing() -> None:
    supernet = undecided(cell("cell", [["skip_connect"], ["skip_connect", "nor_conv_1x1"], ["none", "skip_connect"]]))
    supernet.alphas["cell"].data[0, 1] = 9.0  # the edge has one operation only
    assert [d.operation for d in decided_by(Magnitude(), supernet)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("operation_of_edge_7", "kept"),
    [(0, (5, 6)), (1, (5, 7)), (2, (5, 7))],  # edges 5, 6 and 8: 0.46, 0.45, 0.06
    ids=["none: the weakest", "skip_connect: 0.48", "sep_conv_3x3: 0.47"],
)
def test_a_decided_edge_is_as_strong_as_the_weight_of_what_was_kept_on_it(
    operation_of_edge_7: int, kept: tuple[int, ...]
) -> None:
    supernet = s3()
    apply(OperationDecision("cell", 7, operation_of_edge_7), supernet)
    apply(OperationDecision("cell", 8, 2), supernet)  # 0.06 and not 1, although it is all that is left of the edge
    assert inputs_kept(decided_by(Magnitude(), supernet))["cell", 4] == kept


def test_random_operations_and_inputs_are_uniform_and_edges_are_drawn_separately() -> None:
    decided = [decided_by(Random(), undecided(cell("cell", THREE, WIDE_CELL)), seed=seed) for seed in range(300)]
    together = Counter(tuple(operations_kept(one)["cell", edge] for edge in (0, 4)) for one in decided)
    inputs = Counter(inputs_kept(one)["cell", 4] for one in decided)
    assert set(inputs) == {(5, 6), (5, 7), (5, 8), (6, 7), (6, 8), (7, 8)}
    assert sum((count - 50) ** 2 / 50 for count in inputs.values()) < 20.5  # chi-square, p = 0.001
    assert len(together) == 9
    assert sum((count - 300 / 9) ** 2 / (300 / 9) for count in together.values()) < 26.1  # 8 degrees of freedom


def test_cell_types_are_drawn_separately() -> None:
    supernet = two_cells()
    decided_by(Random(), supernet)
    assert supernet.genotype().cell("normal").nodes != supernet.genotype().cell("reduction").nodes
