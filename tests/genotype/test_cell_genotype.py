import pytest

from archselect.genotype import CellGenotype, Input

NODE = (Input("skip_connect", 0),)


def test_edges_run_from_source_to_the_state_of_their_node():
    cell = CellGenotype("normal", 2, ((Input("a", 0), Input("b", 1)), (Input("c", 2),)))
    assert cell.edges == ((0, 2, "a"), (1, 2, "b"), (2, 3, "c"))


def test_lists_and_pairs_become_a_cell_that_can_be_hashed():
    cell = CellGenotype("cell", 1, [[["skip_connect", 0]], [("none", 1)]])  # type: ignore[arg-type]
    assert cell == CellGenotype("cell", 1, ((Input("skip_connect", 0),), (Input("none", 1),)))
    assert hash(cell) == hash(CellGenotype.from_dict(cell.to_dict()))
    assert cell.nodes[1][0].operation == "none"


@pytest.mark.parametrize("source", [2, 3, 7])
def test_a_source_not_below_its_node_is_a_cycle(source):
    with pytest.raises(ValueError, match=rf"'normal', node 0 \(state 2\) takes source {source}: a cycle.*0\.\.1\."):
        CellGenotype("normal", 2, ((Input("skip_connect", source),),))


def test_the_node_just_below_is_no_cycle():
    assert CellGenotype("normal", 2, (NODE, (Input("skip_connect", 2),))).edges[1] == (2, 3, "skip_connect")


@pytest.mark.parametrize(
    ("name", "inputs", "nodes", "message"),
    [
        ("cell", 1, (NODE, ()), r"node 1 \(state 2\) has no input: a missing node"),
        ("cell", 1, (NODE, (Input("a", 1), Input("b", 1))), "takes source 1 more than once"),
        ("cell", 1, ((Input("a", -1),),), r"source -1, which is no state.*0\.\.0"),
        ("cell", 1, (), "at least one node"),
        ("cell", 1, "ab", "at least one node"),
        ("cell", 1, (5,), "list of .operation, source. pairs; got 5"),
        ("cell", 1, ((("a",),),), "pair .operation, source.; got"),
        ("cell", 1, ((("", 0),),), "operation's name .* got ''"),
        ("cell", 1, ((("a b", 0),),), "operation's name .* got 'a b'"),
        ("cell", 1, (((3, 0),),), "operation's name .* got 3"),
        ("cell", 1, ((("a", "0"),),), "source of 'a' is the number of a state; got '0'"),
        ("cell", 1, ((("a", False),),), "source of 'a' is the number of a state; got False"),
        ("cell", 0, (NODE,), "number of inputs, 1..1000; got 0"),
        ("cell", 1.0, (NODE,), "number of inputs, 1..1000; got 1.0"),
        ("cell", True, (NODE,), "number of inputs, 1..1000; got True"),
        ("", 1, (NODE,), "cell's name"),
        ("a:b", 1, (NODE,), "cell's name .* got 'a:b'"),
        (None, 1, (NODE,), "cell's name .* got None"),
    ],
)
def test_a_malformed_cell_is_refused_by_name(name, inputs, nodes, message):
    with pytest.raises(ValueError, match=message):
        CellGenotype(name, inputs, nodes)


@pytest.mark.parametrize("data", [None, [], "cell", {"name": "cell"}, {"name": "c", "inputs": 1, "nodes": [], "x": 1}])
def test_other_data_than_a_cells_are_refused(data):
    with pytest.raises(ValueError, match="keys"):
        CellGenotype.from_dict(data)
