"""Figures are written in the formats that were asked for: vectors for papers, the same bytes for the same data."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from archselect.figures.cells import draw_cells
from archselect.figures.style import FORMATS, formats_of, save
from archselect.genotype import PUBLISHED
from archselect.pipeline.console import draw_figures

DRAW = """
import sys
from archselect.figures.style import save
from archselect.figures.cells import draw_cells
from archselect.genotype import PUBLISHED
save(draw_cells(PUBLISHED["DARTS_V2"]), sys.argv[1], ("svg", "pdf"))
"""


def test_the_png_is_always_there_and_the_others_beside_it(tmp_path: Path) -> None:
    figure = draw_cells(PUBLISHED["DARTS_V2"])
    assert save(figure, tmp_path / "a" / "cells") == tmp_path / "a" / "cells.png"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cells.png"]

    assert save(figure, tmp_path / "b" / "cells", ("pdf", "svg")) == tmp_path / "b" / "cells.png"
    starts = {path.suffix: path.read_bytes()[:5] for path in (tmp_path / "b").iterdir()}
    assert starts == {".png": b"\x89PNG\r", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def test_a_name_with_dots_is_kept(tmp_path: Path) -> None:
    assert save(draw_cells(PUBLISHED["DARTS_V2"]), tmp_path / "lr_0.025").name == "lr_0.025.png"


def test_another_process_on_another_day_writes_the_same_bytes(tmp_path: Path) -> None:
    save(draw_cells(PUBLISHED["DARTS_V2"]), tmp_path / "here", ("svg", "pdf"))
    subprocess.run([sys.executable, "-c", DRAW, str(tmp_path / "there")], check=True)
    for form in FORMATS:
        here, there = (tmp_path / f"{name}.{form}" for name in ("here", "there"))
        assert here.read_bytes() == there.read_bytes(), form
        assert not re.search(rb"20[2-9]\d-\d\d-\d\d|D:20\d\d", here.read_bytes()), f"a date in {form}"


def test_the_text_of_a_pdf_is_in_fonts_that_conferences_take(tmp_path: Path) -> None:
    save(draw_cells(PUBLISHED["DARTS_V2"]), tmp_path / "cells", ("pdf",))
    content = (tmp_path / "cells.pdf").read_bytes()
    assert b"/TrueType" in content or b"/CIDFontType2" in content
    assert b"/Type3" not in content


def test_the_pictures_of_a_run_are_written_in_each_format(tmp_path: Path) -> None:
    pictures = draw_figures(tmp_path, PUBLISHED["DARTS_V2"], {}, False, ("svg", "pdf"))
    assert pictures == [tmp_path / "cells.png"]  # what loggers and reports show
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.pdf", "cells.png", "cells.svg"]


@pytest.mark.parametrize(
    ("value", "formats"), [("png", ("png",)), ("svg", ("svg",)), (["svg", "pdf", "svg"], ("svg", "pdf"))]
)
def test_the_option_is_a_format_or_a_list(value: object, formats: tuple[str, ...]) -> None:
    assert formats_of(value) == formats


@pytest.mark.parametrize("value", ["eps", "PNG", ["png", "eps"], [], None, 3, {"png": "svg"}])
def test_another_format_is_refused_in_a_sentence(value: object) -> None:
    with pytest.raises(ValueError, match=r"figures\.format must be one of png, svg, pdf, or a list .*; got "):
        formats_of(value)
