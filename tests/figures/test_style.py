"""Operations look the same in every picture; figures are written in the formats that were asked for."""

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from archselect.figures.cells import draw_cells
from archselect.figures.style import FORMATS, STYLES, formats_of, save, styles
from archselect.genotype import PUBLISHED
from archselect.models.ops import PRIMITIVES
from archselect.pipeline.console import draw_figures

DRAW = """
import sys
import matplotlib
from archselect.figures.style import save
from archselect.figures.cells import draw_cells
from archselect.genotype import PUBLISHED
matplotlib.rcParams.update({"font.size": 20, "savefig.dpi": 50})  # a user's own change nothing
save(draw_cells(PUBLISHED["DARTS_V2"]), sys.argv[1], ("svg", "pdf"))
"""


@pytest.mark.parametrize(
    "space",
    [
        "none max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5",
        "none skip_connect nor_conv_1x1 nor_conv_3x3 avg_pool_3x3",
        "noise sep_conv_3x3 sep_conv_5x5 sep_conv_7x7",
        "mine yours theirs ours skip_connect",
    ],
)
def test_the_operations_of_a_space_differ_in_colour_or_line(space: str) -> None:
    found = styles(space.split())
    assert list(found) == space.split()
    assert all((a.colour, a.line) != (b.colour, b.line) for a, b in combinations(found.values(), 2))


def test_every_primitive_has_a_style_of_its_own_and_others_keep_theirs() -> None:
    assert set(PRIMITIVES) <= set(STYLES)
    assert styles(["mine", "noise", "mine", "yours"]) == styles(["mine", "yours", "noise"])


def test_an_operation_of_ones_own_has_a_colour_of_its_own_in_every_figure() -> None:
    names = ["squeeze_excite", "conv_1x7_7x1", "attention", "mbconv"]
    together = styles([*STYLES, *names])
    assert len({together[name].colour for name in names}) == 4
    assert not {together[name].colour for name in names} & {style.colour for style in STYLES.values()}
    assert styles(["attention"])["attention"] == together["attention"] == styles(["attention", *STYLES])["attention"]
    many = [f"own_{number}" for number in range(12)]
    assert len({(style.colour, style.line) for style in styles(many).values()}) == 12
    assert len(styles([*many, "one_more"])) == 13


def test_the_png_is_always_there_and_the_others_beside_it(tmp_path: Path) -> None:
    assert draw_figures(tmp_path / "a", PUBLISHED["DARTS_V2"], {}, False, ("png",)) == [tmp_path / "a" / "cells.png"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cells.png"]
    pictures = draw_figures(tmp_path / "b", PUBLISHED["DARTS_V2"], {}, False, ("pdf", "svg"))
    assert pictures == [tmp_path / "b" / "cells.png"]  # what loggers and reports show
    starts = {path.suffix: path.read_bytes()[:5] for path in (tmp_path / "b").iterdir()}
    assert starts == {".png": b"\x89PNG\r", ".svg": b"<?xml", ".pdf": b"%PDF-"}
    assert save(draw_cells(PUBLISHED["DARTS_V2"]), tmp_path / "lr_0.025").name == "lr_0.025.png"


def test_another_process_on_another_day_writes_the_same_bytes_with_text_as_text(tmp_path: Path) -> None:
    save(draw_cells(PUBLISHED["DARTS_V2"]), tmp_path / "here", ("svg", "pdf"))
    content = (tmp_path / "here.pdf").read_bytes()  # fonts that conferences take
    assert (b"/TrueType" in content or b"/CIDFontType2" in content) and b"/Type3" not in content
    subprocess.run([sys.executable, "-c", DRAW, str(tmp_path / "there")], check=True)
    for form in FORMATS:
        here, there = (tmp_path / f"{name}.{form}" for name in ("here", "there"))
        assert here.read_bytes() == there.read_bytes(), form
        assert not re.search(rb"20[2-9]\d-\d\d-\d\d|D:20\d\d", here.read_bytes()), f"a date in {form}"


@pytest.mark.parametrize("value", ["eps", "PNG", ["png", "eps"], [], None, 3, {"png": "svg"}])
def test_the_option_is_a_format_or_a_list_and_another_is_refused_in_a_sentence(value: object) -> None:
    assert (formats_of("svg"), formats_of(["svg", "pdf", "svg"])) == (("svg",), ("svg", "pdf"))
    with pytest.raises(ValueError, match=r"figures\.format must be one of png, svg, pdf, or a list .*; got "):
        formats_of(value)
