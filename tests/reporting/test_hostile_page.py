"""What somebody else wrote into runs does nothing in the report and its page, and takes nothing out of this machine."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tests.reporting.conftest import Made, MakeRun, read
from tests.results.summaries import costs

from archselect.reporting.report import main

HOSTILE = '<script>document.title="hacked"</script><img src=x onerror=alert(1)>'
SECRET = "the words of a private file"


def test_what_comes_from_files_and_names_of_folders_is_text(tmp_path: Path, make_run: MakeRun) -> None:
    name = "<img src=x onerror=alert(1)>\"'"
    choices = {"search_space": HOSTILE, "search": name, "selection": "javascript:alert(1)", "evaluation": HOSTILE}
    metric = "$\\frac{$[red]<b>"
    task = {"task": HOSTILE, "metric": metric, f"evaluation.test_{metric}": 0.5, "costs.device": HOSTILE}
    make_run(1, search="$\\frac{$", **costs(), **task)
    made = make_run(0, **choices, data=HOSTILE, **{"evaluation." + HOSTILE: 1.0})
    decisions = (made.selection / "decisions.jsonl").read_text()
    (made.selection / "decisions.jsonl").write_text(decisions.replace("skip_connect", HOSTILE.replace('"', "'")))
    for home in (made.folder, tmp_path / "logs" / "several"):
        analysis = home / "analyses" / name
        analysis.mkdir(parents=True)
        for file in (analysis / "reading.md", analysis / f"{name}.csv"):
            file.write_text("</p><script>alert(1)</script>")
        shutil.copy(made.folder / "figures" / "cells.png", analysis / f"{name}.png")
    grid_of(tmp_path / "logs" / "refused", reason=HOSTILE, evaluation=HOSTILE)
    moved = made.folder.with_name(name)
    shutil.move(made.folder, moved)
    typed = yaml.safe_dump([f"search_space={HOSTILE}", "a='\"$(touch made)`touch made`"])
    (moved / ".hydra" / "overrides.yaml").write_text(typed)

    found = read(tmp_path / "logs")

    assert [script.get("type") for script in found.all("script")] == ["application/json", None]  # ours
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert not [image for image in found.all("img") if "src" in image]
    assert all(":" not in (link["href"] or "") for link in found.all("a"))
    assert found.text.count('document.title="hacked"') >= 5
    assert "test $\\frac{$[red]<b>" in found.text
    assert main([str(tmp_path / "logs"), "--costs"]) == 0
    assert "<script" not in (tmp_path / "logs" / "report.md").read_text()
    assert "<script>alert(1)</script>" in found.text and name in found.text
    assert r"""'a='"'"'"$(touch made)`touch made`'""" in found.text  # a shell takes it as one word


def private_file(made: Made, secret: Path) -> None:
    for file in (made.folder / "analyses" / "a" / "reading.md", made.folder / ".hydra" / "overrides.yaml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(secret)
    (made.selection / "decisions.jsonl").unlink()
    (made.selection / "decisions.jsonl").symlink_to(secret)


def private_picture(made: Made, secret: Path) -> None:
    shutil.copy(made.folder / "figures" / "cells.png", secret)
    (made.folder / "figures" / "cells.png").unlink()
    (made.folder / "figures" / "cells.png").symlink_to(secret)


def private_folder(made: Made, secret: Path) -> None:
    shutil.rmtree(made.folder / "figures")
    (secret.parent / "figures").mkdir()
    (secret.parent / "figures" / "cells.png").write_bytes(b"")
    (made.folder / "figures").symlink_to(secret.parent / "figures")


@pytest.mark.parametrize("damage", [private_file, private_picture, private_folder], ids=lambda damage: damage.__name__)
def test_what_a_link_leads_to_is_not_on_the_page(
    damage: Callable[[Made, Path], None], tmp_path: Path, make_run: MakeRun
) -> None:
    made = make_run(0)
    secret = tmp_path / "home" / "secret"
    secret.parent.mkdir()
    secret.write_text(json.dumps([SECRET]))
    damage(made, secret)

    found = read(tmp_path / "logs")

    assert "is a link that leads out of" in found.text
    assert SECRET not in found.html
    shown = "The cells that were selected" in {image["alt"] for image in found.all("img")}
    assert shown is (damage is private_file)


def test_a_stage_that_lies_in_no_store_has_no_link(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(0, stages={"selection": {"folder": "/etc", "seconds": 1.0}})
    found = read(tmp_path / "logs")
    assert "is said to lie in /etc, which is no folder of a store" in found.text
    assert not [link for link in found.all("a") if "etc" in (link["href"] or "").split("/")]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # of making it
def test_a_bomb_for_a_picture_is_a_sentence(tmp_path: Path, make_run: MakeRun) -> None:
    made = make_run(0)
    Image.new("1", (10_000, 9_000)).save(made.folder / "figures" / "cells.png")
    assert "10000 x 9000 pixels, and at most 80,000,000 are decoded" in read(tmp_path / "logs").text


def grid_of(folder: Path, file: str = "refused.json", **changes: Any) -> None:
    """Write four refusals of a grid, or failures, with some of their words changed."""
    for search in ("a", "b"):
        for selection in ("c", "d"):
            words = {"search_space": "s", "search": search, "selection": selection, "evaluation": "e", "data": "d"}
            place = folder / f"{search}{selection}"
            place.mkdir(parents=True)
            (place / file).write_text(json.dumps({**words, "seed": 0, "reason": "no", **changes}))


def test_the_reports_files_hold_no_formulas_and_no_html(tmp_path: Path, make_run: MakeRun) -> None:
    name = "=cmd|' /C calc'!A0 <script>alert(1)</script> [a](javascript:alert(1)) ![](http://a.b/c)"
    make_run(0, search_space=name, data="@SUM(1)")
    grid_of(tmp_path / "logs" / "refused", reason=name, evaluation=name)
    grid_of(tmp_path / "logs" / "failed", "failed.json", reason=name)

    assert main([str(tmp_path / "logs")]) == 0

    with (tmp_path / "logs" / "report.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["search_space"] == f"'{name}" and row["data"] == "'@SUM(1)"
    assert not [value for value in row.values() if value.startswith(("=", "+", "-", "@"))]
    text = (tmp_path / "logs" / "report.md").read_text(encoding="utf-8")
    assert "<" not in text and "[" not in text
    assert text.count("&lt;script>alert(1)&lt;/script> &#91;a](javascript:alert(1))") == 3 + 4  # row, grid, reasons


def test_a_name_that_a_terminal_would_obey_is_left_out_with_a_sentence(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(0)
    make_run(1, search="\x1b]0;hacked\x07")
    grid_of(tmp_path / "logs" / "refused", reason="\x1b[31mred\x1b[0m [link=http://a.b]here[/link]")
    grid_of(tmp_path / "logs" / "obeyed", evaluation="\x1b[31m")
    (tmp_path / "logs" / "refused" / "ac" / "refused.json").write_text("[" * 10_000)

    assert main([str(tmp_path / "logs")]) == 0

    told = capsys.readouterr()
    assert "hacked" not in told.out and "\x1b]0" not in told.out + told.err and "\x1b[31mred" not in told.out
    words = " ".join(told.err.split())
    assert "search is no name of at most 200 printable characters" in words
    assert "does not say what was refused or failed: evaluation is no name" in words
    assert "nested more than 50 deep" in words


def test_the_page_and_the_command_on_it_name_no_home(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_run(0)
    monkeypatch.setenv("HOME", str(tmp_path))
    (made.folder / ".hydra" / "overrides.yaml").write_text("- data.path=~/my images\n- table=/a/$USER/t.csv\n- a~b=1\n")
    found = read(tmp_path / "logs")
    assert str(tmp_path) not in found.html
    assert "~/logs/runs" in found.text
    assert """data.path="$HOME"'/my images' table=/a/"$USER"/t.csv 'a~b=1'""" in found.text
