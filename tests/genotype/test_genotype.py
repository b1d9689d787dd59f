import doctest
import json

import pytest

from archselect.genotype import PUBLISHED, CellGenotype, Genotype, Input
from archselect.genotype import genotype as genotype_module

CELL = CellGenotype("cell", 1, ((Input("skip_connect", 0),),))
SMALL = Genotype((CELL,))


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(genotype_module).attempted > 0
    assert doctest.testmod(genotype_module).failed == 0


def test_holds_its_cells_in_order_and_by_name():
    genotype = PUBLISHED["DARTS_V2"]
    assert genotype.names == ("normal", "reduction")
    assert [cell.name for cell in genotype] == ["normal", "reduction"]
    assert genotype.cell("reduction") is genotype.cells[1]
    assert str(genotype) == genotype.to_text()


def test_equal_genotypes_are_one_key():
    assert {PUBLISHED["DARTS_V1"]: 1}[Genotype.from_text(PUBLISHED["DARTS_V1"].to_text())] == 1


def test_an_unknown_cell_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="no cell 'reduce'; its cells are normal, reduction"):
        PUBLISHED["DARTS_V2"].cell("reduce")


@pytest.mark.parametrize("cells", [(), None, (1,), CELL])
def test_a_genotype_without_cells_is_refused(cells):
    with pytest.raises(ValueError, match="at least one cell genotype"):
        Genotype(cells)


def test_two_cells_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'cell' occurs more than once"):
        Genotype((CELL, CELL))


def test_json_is_plain_data():
    assert json.loads(SMALL.to_json()) == {
        "cells": [{"name": "cell", "inputs": 1, "nodes": [[["skip_connect", 0]]]}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("[" * 90_000, "no valid JSON"),
        ("null", "one key, 'cells'.*a NoneType"),
        ('{"cells": [], "more": 1}', "one key, 'cells'.*'cells', 'more'"),
        ('{"cells": 3}', "one key, 'cells', which holds a list"),
        ('{"cells": []}', "at least one cell"),
        ('{"cells": [3]}', "A cell is an object"),
        ('{"cells": [{"name": "c", "inputs": NaN, "nodes": [[["a", 0]]]}]}', "number of inputs, .* got nan"),
        ('{"cells": [{"name": "c", "inputs": ' + "9" * 5000 + ', "nodes": [[["a", 0]]]}]}', "no valid JSON"),
        ('{"cells": [{"name": "c", "inputs": 1, "nodes": ' + "[" * 40 + "]" * 40 + "}]}", "pair .operation, source."),
        ("[" * 60 + "]" * 60, "nested more than 50 deep"),
    ],
)
def test_malformed_json_is_refused_with_its_fault(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(text)


@pytest.mark.parametrize("form", ["json", "text", "official"])
@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2", "darts_pt_s5_3"])
def test_parse_reads_a_published_genotype_in_every_form(name, form):
    text = getattr(PUBLISHED[name], f"to_{form}")()
    assert Genotype.parse(name) == Genotype.parse(text) == Genotype.parse(f"\n {text} ") == PUBLISHED[name]


def test_parse_reads_nasbench201():
    assert Genotype.parse("|skip_connect~0|") == SMALL


def test_parse_reads_a_json_file(tmp_path):
    path = tmp_path / "genotype.json"
    path.write_text(PUBLISHED["DARTS_V1"].to_json() + "\n")
    assert Genotype.parse(str(path)) == PUBLISHED["DARTS_V1"]


def test_parse_says_which_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.json', but there is no such file"):
        Genotype.parse(str(tmp_path / "missing.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", r"wrong\.json' holds no genotype.*no valid JSON"),
        (b"\xff\xfe\x00", r"wrong\.json', which is no readable text file"),
        (b" " * 100_001, r"wrong\.json' holds no genotype.*at most 100000 characters"),
    ],
)
def test_parse_says_which_file_is_wrong(tmp_path, content, message):
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Genotype.parse(str(path))


def test_parse_refuses_a_folder_and_impossible_paths(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for path in (str(tmp_path / "folder.json"), "a\0.json", "x" * 5000 + ".json"):
        with pytest.raises(ValueError, match="no readable text file"):
            Genotype.parse(path)


def test_parse_lists_the_forms_and_suggests_the_name_that_was_meant():
    with pytest.raises(
        ValueError, match=r"'darts_v3' is no genotype\. Did you mean DARTS_V[12]\?.*one-line text.*NAS-Bench"
    ):
        Genotype.parse("darts_v3")
    with pytest.raises(
        ValueError, match=r"'something' is no genotype\. Accepted are .*DARTS_V1, DARTS_V2, darts_pt_s5_3"
    ):
        Genotype.parse("something")


@pytest.mark.parametrize("value", [None, 3, b"DARTS_V1", ["DARTS_V1"]])
def test_parse_takes_strings_only(value):
    with pytest.raises(ValueError, match=f"from a string; got a {type(value).__name__}"):
        Genotype.parse(value)


def test_published_genotypes_cannot_be_changed():
    with pytest.raises(TypeError):
        PUBLISHED["DARTS_V1"] = SMALL  # type: ignore[index]


def test_darts_pt_s5_3_is_the_one_in_the_paper():
    assert PUBLISHED["darts_pt_s5_3"].to_text() == (
        "normal:2:sep_conv_3x3@0+sep_conv_3x3@1/sep_conv_3x3@0+sep_conv_3x3@1/skip_connect@0+skip_connect@2"
        "/sep_conv_3x3@1+skip_connect@3//reduction:2:avg_pool_3x3@0+sep_conv_5x5@1/max_pool_3x3@1+skip_connect@2"
        "/dil_conv_5x5@1+max_pool_3x3@3/sep_conv_5x5@2+skip_connect@3"
    )
