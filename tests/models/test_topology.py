import doctest

import pytest

from archselect.models import cell_space as topology_module
from archselect.models.cell_space import CellTopology

DARTS = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)
NASBENCH201 = CellTopology(inputs=1, nodes=3, output="last", inputs_per_node=None)


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(topology_module)
    assert (result.attempted, result.failed) == (1, 0)


def test_edges_are_numbered_by_node_then_by_source():
    assert DARTS.edges == (
        *((0, 2), (1, 2)),
        *((0, 3), (1, 3), (2, 3)),
        *((0, 4), (1, 4), (2, 4), (3, 4)),
        *((0, 5), (1, 5), (2, 5), (3, 5), (4, 5)),
    )
    assert NASBENCH201.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def test_the_edges_into_a_state_by_their_numbers():
    assert DARTS.edges_into(3) == (2, 3, 4)
    assert DARTS.edges_into(5) == (9, 10, 11, 12, 13)
    assert DARTS.edges_into(1) == ()


def test_a_node_keeps_as_many_edges_as_the_space_says_and_never_more_than_it_has():
    assert [DARTS.edges_kept_into(state) for state in DARTS.node_states] == [2, 2, 2, 2]
    assert [NASBENCH201.edges_kept_into(state) for state in NASBENCH201.node_states] == [1, 2, 3]
    assert CellTopology(1, 2, "last", 2).edges_kept_into(1) == 1


@pytest.mark.parametrize("state", [-1, 6])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ValueError, match=rf"0\.\.5; got {state}"):
        DARTS.edges_into(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, "concat", 2), "number of inputs, at least 1; got 0"),
        ((2, 0, "concat", 2), "number of nodes, at least 1; got 0"),
        ((2, True, "concat", 2), "number of nodes, at least 1; got True"),
        ((2, 4, "sum", 2), "'concat', 'last'; got 'sum'"),
        ((2, 4, "concat", 0), "inputs_per_node .* got 0"),
        ((2, 4, "concat", "all"), "inputs_per_node .* got 'all'"),
    ],
)
def test_an_impossible_topology_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CellTopology(*arguments)


def test_a_topology_is_a_key_after_its_edges_were_asked_for():
    other = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)
    assert DARTS.edges
    assert {DARTS: 1}[other] == 1
