"""The page as a file: every run is on it once, what comes from files is text, what is missing is said."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.reporting.conftest import Made, Page, Reader, read
from tests.results.summaries import GENOTYPE

from archselect.reporting.html.parts import Assets
from archselect.reporting.report import main

MakeRun = Callable[..., Made]


def test_shows_every_run_once_and_leads_to_it_from_its_row(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in (0, 1, 2):
        make_run(seed, 0.9)
    make_run(0, 0.8, selection="magnitude")

    found = read(tmp_path / "logs")

    anchors = [run["id"] for run in found.runs()]
    assert len(anchors) == len(set(anchors)) == 4
    links = [link["href"] for link in found.all("a") if (link["href"] or "").startswith("#run-")]
    assert sorted(links) == sorted(f"#{anchor}" for anchor in anchors)
    assert "s2 · darts + magnitude · retrain_digits · digits · seed 0" in [run["data-words"] for run in found.runs()]


def test_a_command_typed_again_is_the_same_run_and_its_newest_folder_is_shown(
    tmp_path: Path, make_run: MakeRun
) -> None:
    made = make_run(0)
    shutil.copytree(made.folder, made.folder.with_name("LATER"))

    found = read(tmp_path / "logs")

    assert len(found.runs()) == 1
    assert f"folder {made.folder.with_name('LATER')} the same again {made.folder}" in found.text


def test_cells_carry_what_they_are_sorted_by(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(0, 0.9)
    make_run(1, 0.8)
    make_run(0, 0.97, data="cifar10", evaluation="retrain_cifar10", params=None)

    body = read(tmp_path / "logs").html.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<td(?: data-key=\"([^\"]*)\")?", row) for row in body.split("<tr")[1:]]
    cifar10, digits = rows
    assert digits[:5] == ["s2", "darts", "perturb", "retrain_digits", "digits"]
    assert [float(key) for key in digits[5:10]] == pytest.approx([2, 85.0, 90.0, 1234567, 0.5])
    assert digits[10:] == ["83.0", ""]  # 75 s and 8 s; the paper has no number
    assert cifar10[8] == ""  # no parameters
    assert float(cifar10[11]) == pytest.approx(97.21)


def test_needs_nothing_from_outside(page: Page) -> None:
    found = Reader(page.html)
    for element, attributes in found.elements:
        assert (attributes.get("src") or "data:").startswith("data:")
        address = attributes.get("href") or "#"
        assert ":" not in address and "//" not in address if element == "a" else address in ("#", "data:,")
    assert "url(" not in page.html and "@import" not in page.html
    (policy,) = [meta["content"] for meta in found.all("meta") if "http-equiv" in meta]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")


def test_shows_of_a_real_run_what_its_folder_has(page: Page) -> None:
    found = Reader(page.html)
    perturbed = page.runs[0]
    for text in (perturbed.summary["genotype"], str(perturbed.folder), str(perturbed.stage("search")), "✓ kept"):
        assert text in found.text
    assert (
        f"python train.py experiment=tiny search_space=s2 search=darts selection=perturb logs={page.file.parents[1]}"
        in found.text
    )
    pictures = [image["alt"] for image in found.all("img")]
    assert len(pictures) == sum(len(list((run.folder / "figures").glob("*.png"))) for run in page.runs)
    embedded = json.loads(page.html.split('id="pictures">')[1].split("</script>")[0])
    assert {image["data-picture"] for image in found.all("img")} == set(embedded)
    assert len(embedded) < len(pictures)  # the search's, which both share, once
    assert "incomplete" not in found.text
    assert found.text.count("✓ kept") == sum(
        1 if decision["kind"] == "operation" else len(decision["kept"])
        for run in page.runs
        for decision in run.decisions()
    )


def test_leads_to_the_folders_of_runs_and_stages_wherever_page_and_runs_are_moved_to(
    page: Page, tmp_path: Path
) -> None:
    found = {unquote(link["href"] or "") for link in Reader(page.html).all("a")}
    folders = {run.folder for run in page.runs} | {
        run.folder / kind for run in page.runs for kind in run.summary["stages"]
    }
    assert {f"../{folder.relative_to(page.file.parents[1])}/" for folder in folders} == {
        address for address in found if not address.startswith("#")
    }
    moved = tmp_path / "moved"
    shutil.copytree(page.file.parents[1], moved, symlinks=True)
    assert all((moved / page.file.parent.name / address).is_dir() for address in found if not address.startswith("#"))


def test_the_name_of_a_folder_is_no_scheme(tmp_path: Path) -> None:
    folder = tmp_path / "javascript:alert(1)"
    folder.mkdir()
    assert Assets(tmp_path).link(folder) == "javascript%3Aalert%281%29/"
    assert Assets(tmp_path).link(tmp_path / "gone") is None


def test_shows_the_analyses_of_a_run_and_of_several(tmp_path: Path, make_run: MakeRun) -> None:
    made = make_run(0)
    for home, name in ((made.folder, "operation_strength"), (tmp_path / "logs", "skip_dominance")):
        analysis = home / "analyses" / name
        analysis.mkdir(parents=True)
        shutil.copy(made.folder / "figures" / "cells.png", analysis / f"{name}.png")
        (analysis / f"{name}.csv").write_text("edge,strength\n")
        (analysis / "reading.md").write_text(f"First of {name}.\n\nSecond.\n")
    (tmp_path / "logs" / "analyses" / "2026-01-01").mkdir()  # what a sweep of analyses leaves

    found = read(tmp_path / "logs")

    assert "First of operation_strength. Second." in found.text
    assert "Analyses of several runs" in found.text and "First of skip_dominance. Second." in found.text
    own = made.folder.relative_to(tmp_path / "logs") / "analyses" / "operation_strength" / "operation_strength.csv"
    assert {str(own), "analyses/skip_dominance/skip_dominance.csv"} < {link["href"] for link in found.all("a")}
    assert "cannot be shown" not in found.text
    assert {"Analysis: operation strength", "Analysis: skip dominance"} < {image["alt"] for image in found.all("img")}


def _delete(name: str) -> Callable[[Made], None]:
    def damage(made: Made) -> None:
        path = made.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def _write(name: str, content: str) -> Callable[[Made], None]:
    return lambda made: (made.folder / name).write_text(content) and None


def _decisions(content: str | None) -> Callable[[Made], None]:
    """Change decisions.jsonl of a finished stage that has no digests of its files."""

    def damage(made: Made) -> None:
        (made.selection / "finished.json").write_text('{"files": {}}')
        (made.selection / "decisions.jsonl").write_text(content or "")

    return damage


def _changed_decisions(made: Made) -> None:
    with (made.selection / "decisions.jsonl").open("a") as file:
        file.write("{}\n")


def _no_reading(made: Made) -> None:
    analysis = made.folder / "analyses" / "edges"
    analysis.mkdir(parents=True)
    shutil.copy(made.folder / "figures" / "cells.png", analysis / "edges.png")


def _no_folder_of_the_search(made: Made) -> None:
    summary = json.loads((made.folder / "summary.json").read_text())
    summary["stages"]["search"] = {"seconds": 5.0}
    (made.folder / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_delete("figures"), "The pictures are missing: there is no folder"),
        (_write("figures/cells.png", "\x89PNG"), "The picture cells.png cannot be shown: /"),
        (_delete("figures/topology_strengths.png"), "The picture topology_strengths.png cannot be shown: No such file"),
        (lambda made: shutil.rmtree(made.selection), "The decisions cannot be shown: The selection of the run"),
        (_decisions('{"kind": "operation"}\n'), "The decisions cannot be shown: a record lacks"),
        (_decisions(None), "Decisions are missing: 2 were made, and decisions.jsonl holds 0."),
        (_changed_decisions, "has no result, because it is damaged (decisions.jsonl has"),
        (
            lambda made: shutil.move(made.selection, made.folder / "selection"),
            "The decisions cannot be shown: The selection of the run",
        ),
        (_no_folder_of_the_search, "The stages cannot be shown: a record lacks folder."),
        (_write(".hydra/config.yaml", "a: [1\n b: {"), "config.yaml is damaged, or no YAML: expected"),
        (
            _write(".hydra/overrides.yaml", ""),
            "The command cannot be shown: overrides.yaml holds no list",
        ),
        (_delete(".hydra"), "The command cannot be shown: No such file or directory"),
        (_no_reading, "The reading of the analysis edges cannot be shown: No such file or directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_says_what_a_damaged_folder_lacks_and_shows_the_rest(
    damage: Callable[[Made], None],
    sentence: str,
    tmp_path: Path,
    make_run: MakeRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, damaged = make_run(0), make_run(1)
    damage(damaged)

    found = read(tmp_path / "logs")

    assert len(found.runs()) == 2
    assert found.text.count("incomplete") == 1
    assert sentence in found.text
    assert "Nothing was left to decide" not in found.text and "object at 0x" not in found.text
    assert found.text.count(GENOTYPE) == 2
    warned = " ".join(capsys.readouterr().err.split())
    assert sentence[:40] in warned
    assert str(damaged.folder) in warned.replace(" ", "")
    assert str(whole.folder) not in warned.replace(" ", "")


def test_says_where_the_page_is_and_how_large_or_that_it_cannot_be_written(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(0)
    assert main([str(tmp_path / "logs")]) == 0
    assert not list(tmp_path.rglob("*.html"))
    read(tmp_path / "logs")
    assert re.search(r"report\.csv, \S+/report\.html \(0\.\d MB\)", capsys.readouterr().out)
    assert main([str(tmp_path / "logs"), "--html", str(tmp_path / "logs")]) == 1
    assert "cannot be made" in " ".join(capsys.readouterr().err.split())
