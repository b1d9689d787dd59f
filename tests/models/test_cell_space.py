import doctest
import json
from dataclasses import FrozenInstanceError

import pytest

from archselect.genotype import CellGenotype, Input
from archselect.models import cell_space as module
from archselect.models.cell_space import CellDecisions, CellSpace, CellTopology

DARTS = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)
NASBENCH201 = CellTopology(inputs=1, nodes=3, output="last", inputs_per_node=None)
# Edges 0..4: (0,2) (1,2) (0,3) (1,3) (2,3); node 3 keeps two of three.
TOPOLOGY = CellTopology(inputs=2, nodes=2, output="concat", inputs_per_node=2)
SPACE = CellSpace(
    "normal",
    TOPOLOGY,
    (
        ("skip_connect", "sep_conv_3x3"),
        ("skip_connect",),
        ("none", "skip_connect", "sep_conv_3x3"),
        ("skip_connect", "sep_conv_3x3"),
        ("skip_connect", "sep_conv_3x3"),
    ),
)
ALL_STAY = CellSpace("cell", CellTopology(1, 2, "last", None), (("none", "skip_connect"),) * 3)


def cell(*nodes, inputs=2):
    return CellGenotype("normal", inputs, tuple(tuple(Input(*edge) for edge in node) for node in nodes))


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (1, 0)


def test_edges_are_numbered_by_node_then_by_source():
    assert DARTS.edges == (
        *((0, 2), (1, 2)),
        *((0, 3), (1, 3), (2, 3)),
        *((0, 4), (1, 4), (2, 4), (3, 4)),
        *((0, 5), (1, 5), (2, 5), (3, 5), (4, 5)),
    )
    assert DARTS.edges_into(3) == (2, 3, 4)
    assert DARTS.edges_into(1) == ()
    assert DARTS.edges_from(3) == (8, 12)
    assert DARTS.edges_from(5) == ()
    assert {DARTS: 1}[CellTopology(2, 4, "concat", 2)] == 1  # a key after its edges were asked for


def test_a_node_keeps_as_many_edges_as_the_space_says_and_never_more_than_it_has():
    assert [DARTS.edges_kept_into(state) for state in DARTS.node_states] == [2, 2, 2, 2]
    assert [NASBENCH201.edges_kept_into(state) for state in NASBENCH201.node_states] == [1, 2, 3]
    assert CellTopology(1, 2, "last", 2).edges_kept_into(1) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, "concat", 2), r"topology\.inputs must be a whole number above 0; got 0"),
        ((2, True, "concat", 2), r"topology\.nodes must be a whole number above 0; got True"),
        ((2, 4, "sum", 2), r"topology\.output must be one of concat, last; got 'sum'"),
        ((2, 4, "concat", "all"), r"topology\.inputs_per_node must be a whole number above 0; got 'all'"),
    ],
)
def test_an_impossible_topology_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CellTopology(*arguments)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((("skip_connect",),) * 4, r"normal cell has 5 edges, so it needs 5 lists .* but 4 were given"),
        ((("skip_connect",),) * 6, r"but 6 were given\. Give one list per edge, in the order \[\(0, 2\), \(1, 2\)"),
        ((("skip_connect",),) * 4 + ((),), r"Edge \(2, 3\) of the normal cell has no candidate"),
        ((("none", "none"),) * 5, r"Edge \(0, 2\) of the normal cell lists an operation twice: \['none', 'none'\]"),
    ],
    ids=["too few lists", "too many lists", "an empty list", "an operation twice"],
)
def test_impossible_candidates_are_refused(operations, message):
    with pytest.raises(ValueError, match=message):
        CellSpace("normal", TOPOLOGY, operations)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (
            cell([("skip_connect", 0)], [("skip_connect", 0), ("skip_connect", 1)], inputs=1),
            "has 2 inputs and 2 nodes, but the genotype's has 1 and 2.*another search space",
        ),
        (cell([("skip_connect", 0), ("skip_connect", 1)]), "but the genotype's has 2 and 1"),
        (
            cell([("skip_connect", 0)], [("skip_connect", 0), ("skip_connect", 1)]),
            "Node 2 of the normal cell must have 2 inputs, but the genotype gives it 1",
        ),
        (
            cell([("skip_connect", 0), ("skip_connect", 1)], [("skip_connect", source) for source in range(3)]),
            "Node 3 of the normal cell must have 2 inputs, but the genotype gives it 3",
        ),
        (
            cell([("skip_connect", 0), ("sep_conv_3x3", 1)], [("skip_connect", 0), ("skip_connect", 1)]),
            r"Edge \(1, 2\) .* among \['skip_connect'\], but the genotype has 'sep_conv_3x3' there",
        ),
    ],
    ids=["inputs", "a missing node", "too few inputs", "too many inputs", "no candidate"],
)
def test_a_cell_of_another_space_is_refused(genotype, message):
    with pytest.raises(ValueError, match=message):
        SPACE.check(genotype)


def test_a_decision_makes_new_decisions_and_leaves_the_old_alone():
    before = CellDecisions.none(SPACE)
    after = before.keep_operation(3, 1).keep_inputs(SPACE, 3, [2, 4])
    assert before == CellDecisions.none(SPACE)
    assert after == CellDecisions((None, None, None, 1, None), (True, True, True, False, True), (3,))
    assert after.undecided_edges == (0, 1, 2, 4)
    assert after.undecided_nodes(SPACE) == ()
    with pytest.raises(FrozenInstanceError):
        after.kept = ()


def test_a_node_cannot_be_fed_by_edges_of_another():
    with pytest.raises(ValueError, match=r"Node 3 of the normal cell is fed by edges \[2, 3, 4\], not by \[1, 2\]"):
        CellDecisions.none(SPACE).keep_inputs(SPACE, 3, [1, 2])


def test_the_genotype_holds_what_was_kept():
    decisions = CellDecisions.none(SPACE)
    for edge, operation in enumerate((1, 0, 0, 1, 1)):
        decisions = decisions.keep_operation(edge, operation)
    decisions = decisions.keep_inputs(SPACE, 3, [2, 4])
    genotype = decisions.genotype(SPACE)
    assert genotype == cell([("sep_conv_3x3", 0), ("skip_connect", 1)], [("none", 0), ("sep_conv_3x3", 2)])
    SPACE.check(genotype)


def test_an_edge_that_was_dropped_needs_no_decision():
    decisions = CellDecisions.none(SPACE).keep_inputs(SPACE, 3, [2, 4])
    for edge in (0, 1, 2, 4):
        decisions = decisions.keep_operation(edge, 0)
    assert [source for _, source in decisions.genotype(SPACE).nodes[1]] == [0, 2]


def test_there_is_no_genotype_while_something_is_undecided():
    decisions = CellDecisions((0, 0, 0, None, 0), (True,) * 5)
    with pytest.raises(ValueError, match=r"not decided yet: edges \[\(1, 3\)\], nodes \[3\]"):
        decisions.genotype(SPACE)
    with pytest.raises(ValueError, match=r"edges \[\], nodes \[3\]"):
        decisions.keep_operation(3, 0).genotype(SPACE)


def test_decisions_survive_json():
    decisions = CellDecisions.none(SPACE).keep_operation(2, 0).keep_inputs(SPACE, 3, [2, 3])
    restored = CellDecisions.from_state(json.loads(json.dumps(decisions.to_state())))
    assert restored == decisions
    assert hash(restored) == hash(decisions)


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        (CellDecisions.none(ALL_STAY), "normal cell has 5 edges, but the decisions are about 3"),
        (CellDecisions.none(SPACE).keep_operation(1, 1), r"Edge \(1, 2\) .* among 1 operations, .* number 1, counted"),
        (CellDecisions.none(SPACE).keep_operation(0, -1), r"Edge \(0, 2\) .* number -1"),
    ],
    ids=["edges", "no candidate", "negative"],
)
def test_decisions_about_another_space_are_refused(decisions, message):
    with pytest.raises(ValueError, match=message):
        decisions.check(SPACE)
