import pytest
from tests.selection.small_selection import (
    PLAIN_CELL,
    WIDE_CELL,
    apply,
    cell,
    decided_by,
    inputs_kept,
    operations_kept,
    undecided,
)

from archselect.selection import Magnitude, OperationDecision

# none, skip_connect, sep_conv_3x3: edges 0-1 feed node 2, edges 2-4 node 3, edges 5-8 node 4
S3_WEIGHTS = [
    *([0.1, 0.6, 0.3], [0.1, 0.2, 0.7]),
    *([0.8, 0.11, 0.09], [0.1, 0.4, 0.5], [0.5, 0.3, 0.2]),
    *([0.1, 0.44, 0.46], [0.2, 0.45, 0.35], [0.05, 0.48, 0.47], [0.9, 0.04, 0.06]),
]


def test_keeps_the_largest_weights_but_never_none_where_nodes_choose_their_inputs() -> None:
    space = cell("cell", ("none", "skip_connect", "sep_conv_3x3"), WIDE_CELL)
    supernet = undecided(space, weights={"cell": S3_WEIGHTS})
    decided_by(Magnitude(), supernet)
    assert supernet.genotype().cell("cell").edges == (
        *((0, 2, "skip_connect"), (1, 2, "sep_conv_3x3")),
        *((1, 3, "sep_conv_3x3"), (2, 3, "skip_connect")),  # 0.11, 0.5, 0.3
        *((0, 4, "sep_conv_3x3"), (2, 4, "skip_connect")),  # 0.46, 0.45, 0.48, 0.06
    )


def test_none_is_kept_where_all_edges_stay() -> None:
    space = cell("cell", ("none", "skip_connect"), PLAIN_CELL)
    supernet = undecided(space, weights={"cell": [[0.6, 0.4], [0.4, 0.6], [0.51, 0.49]]})
    assert operations_kept(decided_by(Magnitude(), supernet)) == {
        ("cell", 0): 0,
        ("cell", 1): 1,
        ("cell", 2): 0,
    }


def test_of_equal_weights_the_first_operation_and_the_first_inputs_are_kept() -> None:
    supernet = undecided(cell("cell", ("skip_connect", "sep_conv_3x3"), WIDE_CELL))
    decided = decided_by(Magnitude(), supernet)
    assert set(operations_kept(decided).values()) == {0}
    assert inputs_kept(decided) == {("cell", 3): (2, 3), ("cell", 4): (5, 6)}


def test_weights_of_operations_that_an_edge_does_not_have_count_for_nothing() -> None:
    space = cell("cell", [["skip_connect"], ["skip_connect", "nor_conv_1x1"], ["none", "skip_connect"]])
    supernet = undecided(space)
    supernet.alphas["cell"].data[0, 1] = 9.0  # the edge has one operation only
    assert operations_kept(decided_by(Magnitude(), supernet)) == {
        ("cell", 0): 0,
        ("cell", 1): 0,
        ("cell", 2): 0,
    }


@pytest.mark.parametrize(
    ("operation_of_edge_7", "kept"),
    [(0, (5, 6)), (1, (5, 7)), (2, (5, 7))],  # edges 5, 6 and 8: 0.46, 0.45, 0.06
    ids=["none: the weakest", "skip_connect: 0.48", "sep_conv_3x3: 0.47"],
)
def test_a_decided_edge_is_as_strong_as_the_weight_of_what_was_kept_on_it(
    operation_of_edge_7: int, kept: tuple[int, ...]
) -> None:
    space = cell("cell", ("none", "skip_connect", "sep_conv_3x3"), WIDE_CELL)
    supernet = undecided(space, weights={"cell": S3_WEIGHTS})
    apply(OperationDecision("cell", 7, operation_of_edge_7), supernet)
    apply(OperationDecision("cell", 8, 2), supernet)  # 0.06 and not 1, although it is all that is left of the edge
    assert inputs_kept(decided_by(Magnitude(), supernet))["cell", 4] == kept
