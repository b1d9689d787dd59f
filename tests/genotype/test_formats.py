import shlex

import pytest

from archselect.genotype import CellGenotype, Genotype

TWO_CELLS = Genotype(
    (
        CellGenotype("normal", 2, [[("sep_conv_3x3", 0), ("skip_connect", 1)], [("none", 2), ("noise", 0)]]),
        CellGenotype("reduction", 2, [[("max_pool_3x3", 0), ("max_pool_3x3", 1)], [("a", 0), ("b", 2)]]),
    )
)
TWO_CELLS_TEXT = (
    "normal:2:sep_conv_3x3@0+skip_connect@1/none@2+noise@0//reduction:2:max_pool_3x3@0+max_pool_3x3@1/a@0+b@2"
)
TWO_CELLS_OFFICIAL = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('none', 2), ('noise', 0)], normal_concat=range(2, 4), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('a', 0), ('b', 2)], reduce_concat=range(2, 4))"
)
NASBENCH201_6111 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


class TestOneLine:
    def test_is_written_as_documented(self):
        assert TWO_CELLS.to_text() == TWO_CELLS_TEXT
        assert Genotype.from_text(TWO_CELLS_TEXT) == TWO_CELLS
        assert shlex.quote(TWO_CELLS_TEXT) == TWO_CELLS_TEXT, "it needs no quotation marks in a shell"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "name:inputs:nodes"),
            ("normal:two:a@0", "'normal', its number of inputs is a number written in digits; got 'two'"),
            ("normal:-2:a@0", "written in digits; got '-2'"),
            ("normal:٢:a@0", "written in digits"),
            ("normal:2:a", "operation@source, e.g. skip_connect@0; got 'a'"),
            ("normal:2:a@b", "source in 'a@b' is a number written in digits; got 'b'"),
            ("normal:2:a@0//", "name:inputs:nodes"),
            ("normal:2:a@0/", "node 1 .* missing node"),
            ("normal:2:a@2", "no cycle"),
            ("cell:1:a@0//cell:1:a@0", "'cell' occurs more than once"),
            ("a" * 100_001, "at most 100000 characters; got 100001"),
        ],
    )
    def test_a_malformed_text_is_refused_with_its_fault(self, text, message):
        with pytest.raises(ValueError, match=message):
            Genotype.from_text(text)


class TestOfficial:
    @pytest.mark.parametrize("concat", ["range(2, 4)", "[2, 3]"])
    def test_is_read(self, concat):
        assert Genotype.from_official(TWO_CELLS_OFFICIAL.replace("range(2, 4)", concat)) == TWO_CELLS

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "reduce_concat=range(2, 4)",
                "reduce_concat=[3]",
                r"reduce_concat must hold every node of the cell, 2\.\.3",
            ),
            ("normal_concat=range(2, 4)", "normal_concat=range(2, 5)", "normal_concat must hold every node"),
            ("normal_concat=range(2, 4)", "normal_concat=range(2, 10**9)", "literals only"),
            ("normal_concat=range(2, 4)", "normal_concat=4", "normal_concat must hold every node .* got 4"),
            (", normal_concat=range(2, 4)", "", "names each of"),
            ("normal_concat=range(2, 4)", "normal=[]", "names each of"),
            ("normal=[", "[", "without a name"),
            ("('noise', 0)", "('noise', 0), ('noise', 1)", "two for each node"),
            ("('noise', 0)", "print('noise')", "literals only: names, numbers, lists, tuples"),
            ("('noise', 0)", "('noise', 5)", "no cycle"),
            ("Genotype(", "Genome(", "The official notation is Genotype"),
            ("Genotype(", "__import__('os').Genotype(", "The official notation is Genotype"),
            ("Genotype(", "Genotype(*[], ", "without a name"),
            ("Genotype(", "Genotype(" * 20_000, "at most|cannot be read"),
            ("('noise', 0)", "[" * 5000, "cannot be read"),
        ],
    )
    def test_a_malformed_text_is_refused_with_its_fault(self, old, new, message):
        assert old in TWO_CELLS_OFFICIAL
        with pytest.raises(ValueError, match=message):
            Genotype.from_official(TWO_CELLS_OFFICIAL.replace(old, new, 1))

    def test_nothing_in_it_is_evaluated(self, tmp_path):
        target = tmp_path / "written"
        with pytest.raises(ValueError, match="literals only"):
            Genotype.from_official(TWO_CELLS_OFFICIAL.replace("range(2, 4)", f"open({str(target)!r}, 'w')", 1))
        assert not target.exists()


class TestNASBench201:
    def test_is_one_cell_with_one_input(self):
        genotype = Genotype.from_nasbench201(NASBENCH201_6111)
        assert genotype.to_text() == (
            "cell:1:nor_conv_3x3@0/nor_conv_3x3@0+nor_conv_3x3@1/skip_connect@0+nor_conv_3x3@1+nor_conv_1x1@2"
        )
        assert genotype.to_nasbench201() == NASBENCH201_6111
        assert Genotype.from_text("cell:1:a@0/c@1+b@0").to_nasbench201() == "|a~0|+|b~0|c~1|"  # by source

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "node 1 should begin and end"),
            ("|a~0", "node 1 should begin and end"),
            ("|a~0||b~0|c~1|", "operation~source"),
            ("|a~0|+|b~0|", r"node 2 takes each of the sources 0\.\.1 once.*got the sources \[0\]"),
            ("|a~0|+|b~0|c~0|", r"got the sources \[0, 0\]"),
            ("|a~1|", r"got the sources \[1\]"),
            ("|a~x|", "written in digits"),
            ("|~0|", "operation's name"),
        ],
    )
    def test_a_malformed_text_is_refused_with_its_fault(self, text, message):
        with pytest.raises(ValueError, match=message):
            Genotype.from_nasbench201(text)

    @pytest.mark.parametrize(
        ("genotype", "message"),
        [
            (TWO_CELLS, "a single cell with one input; this genotype has 'normal' with 2 inputs, 'reduction'"),
            (Genotype.from_text("cell:1:a@0/b@1"), r"node 2 takes each of the sources 0\.\.1"),
        ],
    )
    def test_what_it_cannot_hold_is_refused(self, genotype, message):
        with pytest.raises(ValueError, match=message):
            genotype.to_nasbench201()
