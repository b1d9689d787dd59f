from contextlib import nullcontext

import pytest

from archselect.genotype import Genotype
from archselect.search_spaces import DartsSpace, NASBench201Space

S2 = ["skip_connect", "sep_conv_3x3"]
NODES = "/".join(["skip_connect@0+sep_conv_3x3@1"] * 4)
GENOTYPE = f"normal:2:{NODES}//reduction:2:{NODES}"


def darts(operations=S2, **options):
    return DartsSpace("s2", operations, **{"channels": 4, "layers": 3, **options})


def nasbench201(operations=("none", "skip_connect"), **options):
    return NASBench201Space("nasbench201", list(operations), **{"channels": 4, "cells_per_stage": 1, **options})


def candidates(space):
    return {name: cell.operations for name, cell in space.cells.items()}


def test_operations_are_one_list_or_one_per_edge_or_either_per_cell_type():
    everywhere = (tuple(S2),) * 14
    only_skip = (("skip_connect",),) * 14
    assert candidates(darts(S2)) == {"normal": everywhere, "reduction": everywhere}
    assert candidates(darts([S2] * 14)) == {"normal": everywhere, "reduction": everywhere}
    assert candidates(darts({"normal": S2, "reduction": [["skip_connect"]] * 14})) == {
        "normal": everywhere,
        "reduction": only_skip,
    }
    assert candidates(darts("skip_connect")) == {"normal": only_skip, "reduction": only_skip}


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([S2] * 13, r"normal cell has 14 edges, so it needs 14 lists .*, but 13 were given"),
        ({"normal": S2, "reduction": [S2] * 13}, "reduction cell has 14 edges"),
        ([], "The normal cell has an empty list of candidate operations"),
        (None, "The normal cell has an empty list of candidate operations"),
        ({"normal": S2, "reduction": []}, "The reduction cell has an empty list"),
        ([*[S2] * 13, []], r"Edge \(4, 5\) of the normal cell has no candidate operation"),
        (["skip_connect", "skip_connect"], r"Edge \(0, 2\) of the normal cell lists an operation twice"),
        (["sep_conv_3x4"], r"'sep_conv_3x4' does not exist\. Did you mean 'sep_conv_3x3'\? The primitives are none,"),
        ([*[S2] * 13, ["skip"]], "'skip' does not exist"),
        (["zzz"], r"'zzz' does not exist\. The primitives"),
        ([*S2, S2], "The operations of the normal cell mix names and lists"),
        ([*[S2] * 13, None], "The operations of the normal cell mix names and lists"),
        ({"normal": S2}, r"cell types \['normal', 'reduction'\], but operations were given for \['normal'\]"),
        ({"normal": S2, "reduction": S2, "cell": S2}, r"were given for \['cell', 'normal', 'reduction'\]"),
    ],
)
def test_impossible_operations_are_refused(operations, message):
    with pytest.raises(ValueError, match=message):
        darts(operations)


LAST_NODE = [["none", "skip_connect"]] * 3 + [["none"]] * 3  # the edges into the last node of NAS-Bench-201 give zeros


@pytest.mark.parametrize(
    ("make", "operations", "layers", "accepted"),
    [
        (nasbench201, ["none"], None, False),
        (nasbench201, LAST_NODE, None, False),
        (darts, ["none"], 8, False),
        (darts, {"normal": ["none"], "reduction": S2}, 8, False),  # two normal cells in a row, 3 and 4
        (darts, {"normal": S2, "reduction": ["none"]}, 4, False),  # two reductions in a row, 1 and 2
        (darts, [*[["none"]] * 4, ["skip_connect"], *[["none"]] * 9], 8, False),  # from node 2 to node 3 only
        (nasbench201, [["none"]] * 3 + [["skip_connect"]] + [["none"]] * 2, None, True),
        (darts, {"normal": S2, "reduction": ["none"]}, 8, True),  # cell 7 reads 6, which reads 4, and so on
        (darts, {"normal": ["none"], "reduction": S2}, 3, True),  # cells 1 and 2 are reductions, and 1 reads the stem
        (darts, [["noise"], *[["none"]] * 13], 8, True),
    ],
)
def test_a_space_needs_a_path_from_image_to_classifier(make, operations, layers, accepted):
    options = {} if layers is None else {"layers": layers}
    message = r"no path from the image to the classifier .* Add operations to search_space"
    with nullcontext() if accepted else pytest.raises(ValueError, match=message):
        make(operations, **options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (darts, {"channels": 5}, r"search_space\.channels must be even: .* got 5"),
        (darts, {"channels": 0}, r"search_space\.channels must be a whole number above 0; got 0"),
        (darts, {"channels": 4.0}, r"search_space\.channels must be a whole number above 0; got 4\.0"),
        (darts, {"layers": 2}, r"at least 3 layers, .* search_space\.layers got 2"),
        (darts, {"layers": True}, r"search_space\.layers must be a whole number above 0; got True"),
        (nasbench201, {"channels": -1}, r"search_space\.channels must be a whole number above 0; got -1"),
        (nasbench201, {"cells_per_stage": 0}, r"search_space\.cells_per_stage must be a whole number above 0; got 0"),
    ],
)
def test_impossible_sizes_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("size", [0, 4, 7, 30])
def test_images_that_cannot_be_halved_twice_are_refused(size):
    none = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    for space, code in ((darts(), GENOTYPE), (nasbench201(), none)):
        message = f"'{space.name}' halves the image twice, .*multiple of 4 and at least 8 pixels; got {size}x{size}"
        with pytest.raises(ValueError, match=message):
            space.supernet(size, 10)
        with pytest.raises(ValueError, match=message):
            space.network(Genotype.parse(code), size, 10, channels=4)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ("cell:1:none@0/none@0+none@1/none@0+none@1+none@2", r"types \['normal', 'reduction'\], .* has \['cell'\]"),
        (f"normal:2:{NODES}", r"but the genotype has \['normal'\]"),
        (GENOTYPE.replace("/skip_connect@0+sep_conv_3x3@1", "", 1), "has 2 inputs and 4 nodes, but .* has 2 and 3"),
        (GENOTYPE.replace("sep_conv_3x3", "sep_conv_5x5"), r"Edge \(1, 2\) .* has 'sep_conv_5x5' there"),
        (
            GENOTYPE.replace("+sep_conv_3x3@1//", "//"),
            "Node 5 of the normal cell must have 2 inputs, but .* gives it 1",
        ),
    ],
    ids=["another family", "a cell missing", "a node missing", "another operation", "an input missing"],
)
def test_a_genotype_of_another_space_is_refused(genotype, message):
    space = darts()
    for refuse in (space.check, lambda g: space.network(g, 32, 10, channels=4, layers=3)):
        with pytest.raises(ValueError, match=message):
            refuse(Genotype.parse(genotype))


def test_a_genotype_of_the_space_is_accepted_whatever_the_order_of_its_cells():
    genotype = Genotype.parse(GENOTYPE)
    darts().check(genotype)
    darts().check(Genotype(genotype.cells[::-1]))
