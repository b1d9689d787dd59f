import json

import pytest

from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input
from archselect.genotype import genotype as genotype_module

CELL = CellGenotype("cell", 1, ((Input("skip_connect", 0),),))
SMALL = Genotype((CELL,))
NODE = (Input("skip_connect", 0),)


@pytest.mark.parametrize(
    ("name", "inputs", "nodes", "message"),
    [
        ("cell", 1, (NODE, ()), r"node 1 \(state 2\) has no input: a missing node"),
        ("cell", 1, (NODE, (Input("a", 1), Input("b", 1))), r"takes a source more than once: \[1, 1\]"),
        ("cell", 1, ((Input("a", -1),),), r"'a' reads one of the states below its own, 0\.\.0, .*; got -1"),
        ("normal", 2, ((Input("a", 2),),), r"'normal', node 0 \(state 2\): 'a' reads .* 0\.\.1, .* no cycle; got 2"),
        ("cell", 1, (), "at least one node"),
        ("cell", 1, "ab", "at least one node"),
        ("cell", 1, (5,), "list of .operation, source. pairs; got 5"),
        ("cell", 1, ((("a",),),), "list of .operation, source. pairs; got"),
        ("cell", 1, ((("", 0),),), "operation's name .* got ''"),
        ("cell", 1, ((("a b", 0),),), "operation's name .* got 'a b'"),
        ("cell", 1, (((3, 0),),), "operation's name .* got 3"),
        ("cell", 1, ((("a", "0"),),), "'a' reads one of the states .* got '0'"),
        ("cell", 1, ((("a", False),),), "'a' reads one of the states .* got False"),
        ("cell", 0, (NODE,), "number of inputs, 1..1000; got 0"),
        ("cell", 1.0, (NODE,), "number of inputs, 1..1000; got 1.0"),
        ("cell", True, (NODE,), "number of inputs, 1..1000; got True"),
        ("a:b", 1, (NODE,), "cell's name .* got 'a:b'"),
        (None, 1, (NODE,), "cell's name .* got None"),
    ],
)
def test_a_malformed_cell_is_refused_by_name(name, inputs, nodes, message):
    with pytest.raises(ValueError, match=message):
        CellGenotype(name, inputs, nodes)


def test_holds_its_cells_in_order_and_by_name():
    genotype = PUBLISHED["DARTS_V2"]
    assert genotype.names == ("normal", "reduction")
    assert [cell.name for cell in genotype] == ["normal", "reduction"]
    assert genotype.cell("reduction") is genotype.cells[1]
    assert {genotype: 1}[Genotype.from_text(str(genotype))] == 1
    with pytest.raises(ValueError, match="no cell 'reduce'; its cells are normal, reduction"):
        genotype.cell("reduce")


@pytest.mark.parametrize(
    ("cells", "message"),
    [*((cells, "at least one cell genotype") for cells in ((), None, (1,), CELL)), ((CELL, CELL), "more than once")],
)
def test_a_genotype_is_cells_of_different_names(cells, message):
    with pytest.raises(ValueError, match=message):
        Genotype(cells)


def test_json_is_plain_data():
    assert json.loads(SMALL.to_json()) == {
        "cells": [{"name": "cell", "inputs": 1, "nodes": [[["skip_connect", 0]]]}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no valid JSON"),
        ("[" * 90_000, "no valid JSON"),
        ("null", "object with the keys cells; got 'a NoneType'"),
        ('{"cells": [], "more": 1}', "the keys cells; got .'cells', 'more'"),
        ('{"cells": 3}', "cells of a genotype are a list; got 3"),
        ('{"cells": []}', "at least one cell"),
        ('{"cells": [3]}', "A cell is an object with the keys name, inputs, nodes; got 'a int'"),
        ('{"cells": [{"name": "c", "inputs": 1}]}', "A cell is an object with the keys name, inputs, nodes"),
        ('{"cells": [{"name": "c", "inputs": NaN, "nodes": [[["a", 0]]]}]}', "number of inputs, .* got nan"),
        ('{"cells": [{"name": "c", "inputs": ' + "9" * 5000 + ', "nodes": [[["a", 0]]]}]}', "no valid JSON"),
        ('{"cells": [{"name": "c", "inputs": 1, "nodes": ' + "[" * 40 + "]" * 40 + "}]}", ".operation, source. pairs"),
        ("[" * 60 + "]" * 60, "nested more than 50 deep"),
    ],
)
def test_malformed_json_is_refused_with_its_fault(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(text)


@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2", "darts_pt_s5_3"])
def test_parse_reads_a_published_genotype_in_every_form(name, tmp_path):
    published = PUBLISHED[name]
    path = tmp_path / "genotype.json"
    path.write_text(published.to_json() + "\n")
    official = genotype_module.OFFICIAL_NOTATION[name]
    logged = f"INFO (epoch 49) genotype = {official} (94.2 %)"
    for text in (name, published.to_json(), published.to_text(), official, logged, str(path)):
        assert Genotype.parse(text) == Genotype.parse(f"\n {text} ") == published


def test_parse_reads_nasbench201():
    assert Genotype.parse("|skip_connect~0|") == Genotype.parse("best: (nodes with |skip_connect~0|)") == SMALL


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", r"wrong\.json' holds no genotype.*no valid JSON"), (b"\xff", "wrong.json', which is no readable text")],
)
def test_parse_says_what_is_wrong_with_a_file(tmp_path, content, message):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Genotype.parse(str(path))
    with pytest.raises(FileNotFoundError, match=r"missing\.json', but there is no such file"):
        Genotype.parse(str(tmp_path / "missing.json"))


def test_parse_refuses_a_folder_and_impossible_paths(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for path in (str(tmp_path / "folder.json"), "a\0.json", "x" * 5000 + ".json"):
        with pytest.raises(ValueError, match="no readable text file"):
            Genotype.parse(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("darts_v3", r"'darts_v3' is no genotype\. Did you mean DARTS_V[12]\?.*one-line text.*NAS-Bench"),
        ("something", r"'something' is no genotype\. Accepted are .*DARTS_V1, DARTS_V2, darts_pt_s5_3"),
        (None, "from a string; got a NoneType"),
        (b"DARTS_V1", "from a string; got a bytes"),
    ],
)
def test_parse_lists_the_forms_and_suggests_the_name_that_was_meant(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.parse(text)


def test_darts_pt_s5_3_is_the_one_in_the_paper():
    assert PUBLISHED["darts_pt_s5_3"].to_text() == (
        "normal:2:sep_conv_3x3@0+sep_conv_3x3@1/sep_conv_3x3@0+sep_conv_3x3@1/skip_connect@0+skip_connect@2"
        "/sep_conv_3x3@1+skip_connect@3//reduction:2:avg_pool_3x3@0+sep_conv_5x5@1/max_pool_3x3@1+skip_connect@2"
        "/dil_conv_5x5@1+max_pool_3x3@3/sep_conv_5x5@2+skip_connect@3"
    )
