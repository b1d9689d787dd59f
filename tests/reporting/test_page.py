"""The page as a file: every run is on it once, what comes from files is text, what is missing is said."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from tests.command import Run, tiny, train
from tests.reporting.conftest import Made, MakeRun, Reader, operation, read, strengths
from tests.results.summaries import GENOTYPE, costs

from archselect.reporting.html.run_view import Assets
from archselect.reporting.html.tradeoff import draw_results, front_of, panels_of
from archselect.reporting.report import main
from archselect.results.costs import LATENCY_1, MACS, costs_in, front
from archselect.results.summaries import collect, rows


def test_shows_every_run_once_and_leads_to_it_from_its_row(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in (0, 1, 2):
        make_run(seed, 0.9)
    folder = make_run(0, 0.8, selection="magnitude").folder
    shutil.copytree(folder, folder.with_name("LATER"))  # the same command, typed again

    found = read(tmp_path / "logs")

    anchors = [run["id"] for run in found.runs()]
    assert len(anchors) == len(set(anchors)) == 4
    links = [link["href"] for link in found.all("a") if (link.get("aria-label") or "").startswith("seed")]
    assert sorted(links) == sorted(f"#{anchor}" for anchor in anchors)
    assert "s2 · darts + magnitude · retrain_digits · digits · seed 0" in [run["data-words"] for run in found.runs()]
    assert f"folder {folder.with_name('LATER')} the same again {folder}" in found.text


def test_cells_carry_what_they_are_sorted_by(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(0, 0.9)
    make_run(1, 0.8)
    make_run(0, 0.97, data="cifar10", evaluation="retrain_cifar10", params=None)

    table = read(tmp_path / "logs").html.split('id="summary-table"')[1]
    body = table.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<td(?: data-key=\"([^\"]*)\")?", row) for row in body.split("<tr")[1:]]
    cifar10, digits = rows
    assert digits[:5] == ["s2", "darts", "perturb", "retrain_digits", "digits"]
    assert [float(key) for key in digits[5:10]] == pytest.approx([2, 85.0, 90.0, 1234567, 0.5])
    assert digits[10:] == ["83.0", ""]  # 75 s and 8 s; the paper has no number
    assert cifar10[8] == ""  # no parameters
    assert float(cifar10[11]) == pytest.approx(97.21)


def test_it_opens_with_accuracy_against_parameters_a_point_per_run_beside_the_papers_numbers(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for seed, accuracy in enumerate((0.9, 0.8)):
        make_run(seed, accuracy)
    make_run(0, 0.97, data="cifar10", evaluation="retrain_cifar10")
    make_run(2, 0.95, params=None)  # no point

    figure = draw_results(rows(collect(tmp_path / "logs", pytest.fail)))
    assert figure is not None
    drawn = {}
    for axes in figure.axes:
        points = [(x, y) for line in axes.lines for x, y in zip(*line.get_data(), strict=True) if x > 1]
        drawn[axes.get_title("left")] = (
            points,
            [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"],
        )
    assert drawn["s2, digits, retrain_digits"] == ([(1234567, 90.0), (1234567, 80.0)], [])
    assert drawn["s2, cifar10, retrain_cifar10"] == ([(1234567, 97.0)], [pytest.approx(97.21)])

    found = read(tmp_path / "logs")
    (first, *_) = [image["alt"] for image in found.all("img")]
    assert first.startswith("Test accuracy against parameters")


def test_every_cost_has_a_picture_and_a_pareto_front_that_the_mode_of_the_metric_directs(
    tmp_path: Path, make_run: MakeRun
) -> None:
    """Of three runs, by hand: the second costs most and is best, the third costs more than the first and is worse."""
    error = {"task": "regression", "metric": "mean_absolute_error", "metric_mode": "min"}
    for seed, (size, accuracy, loss) in enumerate([(1, 0.7, 9.5), (30, 0.9, 2.5), (2, 0.6, 10.5)]):
        numbers = {**costs(size * 1000, size * 10**6, latency=size), "params": size * 1000}
        make_run(seed, accuracy, **numbers)
        counted = {name: numbers[name] for name in ("params", "costs.macs")}
        make_run(seed, None, **counted, **error, **{"evaluation.test_mean_absolute_error": loss})

    found = read(tmp_path / "logs")

    captions = [image["alt"] or "" for image in found.all("img")]
    assert len([caption for caption in captions if caption.startswith("Test accuracy against")]) == 5
    assert "Test mean absolute error against MACs: a point per run" in captions
    assert [option["value"] for option in found.all("option")][:5] == list(costs_in(costs()))
    fronts = re.findall(r'aria-label="Pareto front, MACs".*?</table>', found.html, re.DOTALL)
    numbers = [re.findall(r'<td class="number">([^<]*)</td>', front) for front in fronts]
    rest = [["0.0010", "1.00", "6.50", "1.00", "20.00"], ["0.030", "30.00", "6.50", "30.00", "600.00"]]
    assert numbers[0] == ["70.00", *rest[0], "90.00", *rest[1]]
    assert numbers[1] == ["9.500", *rest[0][:2], "2.500", *rest[1][:2]]
    accuracy, _ = rows(collect(tmp_path / "logs", pytest.fail))
    figure = draw_results([accuracy], MACS)
    assert figure is not None and figure.axes[0].get_xscale() == "log"


def test_latencies_are_compared_on_one_device_alone_and_what_is_no_number_not_at_all(
    tmp_path: Path, make_run: MakeRun
) -> None:
    error = {"task": "regression", "metric": "mean_absolute_error", "metric_mode": "min"}
    for seed, (device, loss) in enumerate([("cpu", 2.5), ("cuda", 9.5), ("cuda", float("nan"))]):
        told = {"costs.device": device, "evaluation.test_mean_absolute_error": loss}
        make_run(seed, None, **costs(latency=4.0 - seed), **error, **told)
    (row,) = rows(collect(tmp_path / "logs", pytest.fail))
    counted, measured = (panels_of([row], cost) for cost in (MACS, LATENCY_1))
    assert [len(own[0].results) for own in counted.values()] == [3]
    fronts = {title: [one.seed for *_, one in front_of(own, LATENCY_1)] for title, own in measured.items()}
    assert fronts == {"s2, digits, retrain_digits, cpu": [0], "s2, digits, retrain_digits, cuda": [1]}
    assert front([(1.0, float("nan"), "none")], row.metric) == []
    figure = draw_results([row], LATENCY_1)
    assert figure is not None and [axes.get_title("left") for axes in figure.axes] == [*fronts]


def test_a_run_of_another_task_is_told_in_its_metric(tmp_path: Path, make_run: MakeRun) -> None:
    task = {"task": "regression", "metric": "mean_absolute_error", "metric_mode": "min"}
    numbers = {"search.val_mean_absolute_error": 3.25, "evaluation.test_mean_absolute_error": 2.5}
    record = operation(scores=[{"candidate": "skip_connect", "mean_absolute_error": 12.5, "loss": 2.0}] * 2)
    _decisions(json.dumps(record))(make_run(0, None, **task, **numbers, **costs(), **{"costs.device": "cpu (one)"}))
    text = read(tmp_path / "logs").text
    assert "mean absolute error without it" in text and "12.50" in text
    assert "mean absolute error gained, full width:" in text
    assert "search: val mean absolute error 3.25" in text and "seed 0 2.500 " in text
    assert "MACs 540.00 M" in text and "latency measured on cpu (one)" in text
    body = text[text.index("Architectures selected") : text.index("use strict")]
    assert "accuracy" not in body and "%" not in body.replace("skips %", "")


Real = tuple[Path, Reader, list[Run]]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """Return a folder of two real runs on one supernet, the page on them beside it, and the runs."""
    folder = tmp_path_factory.mktemp("page")
    options = ["evaluation=none", f"logs={folder / 'logs'}"]
    runs = [train(*tiny("nasbench201", "darts", selection, *options)) for selection in ("perturb", "magnitude")]
    assert main([str(folder / "logs"), "--html", str(folder / "new" / "report.html")]) == 0
    return folder, Reader((folder / "new" / "report.html").read_text(encoding="utf-8")), runs


def test_needs_nothing_from_outside(real: Real) -> None:
    found = real[1]
    for element, attributes in found.elements:
        assert (attributes.get("src") or "data:").startswith("data:")
        address = attributes.get("href") or "#"
        assert ":" not in address and "//" not in address if element == "a" else address in ("#", "data:,")
    assert "url(" not in found.html and "@import" not in found.html
    (policy,) = [meta["content"] for meta in found.all("meta") if "http-equiv" in meta]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")


def test_shows_of_a_real_run_what_its_folder_has(real: Real) -> None:
    folder, found, runs = real
    for text in (runs[0].summary["genotype"], str(runs[0].folder), str(runs[0].stage("search")), "✓ kept"):
        assert text in found.text
    typed = "experiment=tiny search_space=nasbench201 search=darts selection=perturb evaluation=none"
    assert f"python train.py {typed} logs={folder / 'logs'}" in found.text
    pictures = [image["alt"] for image in found.all("img")]
    assert len(pictures) == sum(len(list((run.folder / "figures").glob("*.png"))) for run in runs)
    embedded = json.loads(found.html.split('id="pictures">')[1].split("</script>")[0])
    assert {image["data-picture"] for image in found.all("img")} == set(embedded)
    assert len(embedded) < len(pictures)  # the search's, which both share, once
    assert "incomplete" not in found.text
    assert found.text.count("✓ kept") == sum(len(run.decisions()) for run in runs)


def test_leads_to_the_folders_of_runs_and_stages_wherever_all_is_moved_to(real: Real, tmp_path: Path) -> None:
    folder, page, runs = real
    found = {unquote(link["href"] or "") for link in page.all("a") if not (link["href"] or "").startswith("#")}
    folders = {run.folder / kind for run in runs for kind in ("", *run.summary["stages"])}
    assert found == {f"../{one.relative_to(folder)}/" for one in folders}
    shutil.copytree(folder, tmp_path / "moved", symlinks=True)
    assert all((tmp_path / "moved" / "new" / address).is_dir() for address in found)


@pytest.mark.parametrize(
    ("record", "criterion", "words"),
    [
        (
            operation(),
            "accuracy",
            "accuracy lost, full width: 25.00 points, against the edge’s most dispensable",
        ),
        (operation(), "loss", "loss gained, full width: 0.5 nats, against the edge’s most dispensable"),
        (operation(strengths=strengths(-0.1, 0.4)), "loss", "strength, full width: 0.4; hatched: negative"),
        (
            operation(strengths=strengths(-0.1, 0.4), trial="x"),
            "loss",
            "strength beyond that of the edge’s weakest",
        ),
    ],
)
def test_says_what_the_bars_of_the_operations_stand_for(
    record: dict[str, Any], criterion: str, words: str, tmp_path: Path, make_run: MakeRun
) -> None:
    made = make_run(0)
    (made.folder / ".hydra" / "config.yaml").write_text(f"selection: {{operation_criterion: {criterion}}}\n")
    _decisions(json.dumps(record))(made)
    text = read(tmp_path / "logs").text
    assert words in text
    assert f"accuracy {'with it alone' if 'trial' in record else 'without it'} %" in text


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


Damage = Callable[[Made], object]


def _delete(name: str) -> Damage:
    return lambda made: (shutil.rmtree if (made.folder / name).is_dir() else Path.unlink)(made.folder / name)


def _write(name: str, content: str) -> Damage:
    return lambda made: (made.folder / name).write_text(content)


def _decisions(content: str) -> Damage:
    """Change decisions.jsonl of a finished stage that has no digests of its files."""

    def damage(made: Made) -> None:
        (made.selection / "finished.json").write_text('{"files": {}}')
        (made.selection / "decisions.jsonl").write_text(content and f"{content}\n")

    return damage


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
        (_decisions('{"kind": "operation"}'), "The decisions cannot be shown: a record lacks"),
        (
            _decisions(json.dumps(operation(scores=[{"candidate": "skip_connect", "accuracy": 0.5, "loss": "high"}]))),
            "The decisions cannot be shown: could not convert string to float: 'high'.",
        ),
        (_decisions(""), "Decisions are missing: 2 were made, and decisions.jsonl holds 0."),
        (
            lambda made: (made.selection / "decisions.jsonl").write_text("{}"),
            "has no result, because it is damaged (decisions.jsonl has",
        ),
        (_no_folder_of_the_search, "The stages cannot be shown: a record lacks folder."),
        (_write(".hydra/config.yaml", "a: [1\n b: {"), "config.yaml is damaged, or no YAML: expected"),
        (_write(".hydra/overrides.yaml", ""), "The command cannot be shown: overrides.yaml holds no list"),
        (_delete(".hydra"), "The command cannot be shown: No such file or directory"),
        (_no_reading, "The reading of the analysis edges cannot be shown: No such file or directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_says_what_a_damaged_folder_lacks_and_shows_the_rest(
    damage: Damage, sentence: str, tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
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
    assert re.search(r"report\.csv\nWritten: \S+/report\.html \(0\.\d MB\)", capsys.readouterr().out)
    assert main([str(tmp_path / "logs"), "--html", str(tmp_path / "logs")]) == 1
    assert "cannot be made" in " ".join(capsys.readouterr().err.split())
