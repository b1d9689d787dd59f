"""Whole runs at a tiny size: what every combination of space, search and selection leaves behind is right."""

import csv
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.command import TRAIN, Apart, Run, tiny, train
from torch import Tensor

from archselect.data import ImageData, ImageTensors
from archselect.data.decode import EncodedImages
from archselect.data.sources import Digits, Split
from archselect.distributed.rng import derived_seed
from archselect.evaluation.nasbench201 import PACKAGED
from archselect.genotype import PUBLISHED, Genotype

SPACES = ("s2", "s1", "s3", "s4", "darts", "nasbench201")
SEARCHES = ("darts", "fixed_alpha")
SELECTIONS = ("magnitude", "random", "perturb")
QUICK = {  # the others are slow together, not one by one, and `test_grid.py` has them in S2
    *((space, "darts", "perturb") for space in ("s2", "nasbench201")),
    *((space, "darts", "magnitude") for space in ("s3", "darts", "nasbench201")),
    *((space, "fixed_alpha", "random") for space in ("s1", "s4", "nasbench201")),
}
COMBINATIONS = [
    pytest.param(space, search, selection, marks=() if (space, search, selection) in QUICK else pytest.mark.slow)
    for space in SPACES
    for search in SEARCHES
    for selection in SELECTIONS
    if (search, selection) != ("fixed_alpha", "magnitude")  # refused
]

# The tiny run: 2 epochs of search on 60 images, 2 of retraining on 108.
EPOCHS = 2
WEIGHT_IMAGES = 60
RETRAIN_IMAGES = 108


def short(space: str, search: str, selection: str, *more: str) -> Run:
    """Run one combination; where it is not about the tuning, the selection does without."""
    return train(*tiny(space, search, selection, "protocol.epochs_between=0", *more))


# --- All combinations. ---


@pytest.mark.parametrize(("space", "search", "selection"), COMBINATIONS)
def test_a_run_leaves_what_it_promises(space: str, search: str, selection: str, logs: str) -> None:
    run = short(space, search, selection, logs)
    check_summary(run, space, search, selection)
    check_genotype(run)
    check_decisions(run, selection)
    check_search_history(run, search)
    check_evaluation_history(run)


def check_summary(run: Run, space: str, search: str, selection: str) -> None:
    summary = run.summary
    retraining = "retrain_tiny_nasbench201" if space == "nasbench201" else "retrain_tiny"
    chosen = {"search_space": space, "search": search, "selection": selection, "data": "digits", "seed": 0}
    assert {key: summary[key] for key in chosen} == chosen
    assert (summary["name"], summary["evaluation"]) == (f"{space}-{search}-{selection}-digits", retraining)
    measured = {
        *("search.val_accuracy", "search.val_balanced_accuracy", "evaluation.val_balanced_accuracy"),
        *(f"evaluation.{split}_{metric}" for split in ("train", "val", "test") for metric in ("accuracy", "loss")),
        "evaluation.test_balanced_accuracy",
    }
    of_classes = {
        *(
            f"{stage}.{what}"
            for stage in ("search", "evaluation")
            for what in ("mean", "std", "train_images_per_class")
        ),
        *(f"{part}_accuracy_per_class" for part in ("search.val", "evaluation.val", "evaluation.test")),
        "evaluation.test_images_per_class",
    }
    others = {"name", "evaluation", "genotype", "params", "evaluation.epochs", "stages", "class_names"}
    of_task = {"task", "metric", "metric_mode"}
    of_network = {f"evaluation.{what}" for what in ("image_size", "channels", "outputs")}
    of_costs = {name for name in summary if name.startswith("costs.")}  # tests/pipeline/test_run_costs.py
    assert {"costs.params", "costs.macs", "costs.latency_ms_batch64"} <= of_costs
    assert set(summary) == {*chosen, *others, *measured, *of_classes, *of_task, *of_network, *of_costs}
    check_classes(summary)
    for key in measured:
        assert isinstance(summary[key], float)
        assert 0 <= summary[key] <= (1 if key.endswith("accuracy") else 20)
    assert list(summary["stages"]) == ["search", "selection", "evaluation"]
    for kind, stage in summary["stages"].items():
        assert set(stage) == {"folder", "seconds", "reused"}
        assert stage["seconds"] > 0
        assert Path(stage["folder"]).parent.name == kind
        assert (Path(stage["folder"]) / "finished.json").exists()
        assert not list(Path(stage["folder"]).glob("*.ckpt"))
        assert (run.folder / kind).resolve() == Path(stage["folder"])
    assert summary["search.val_accuracy"] == run.history("search")[-1]["metrics"]["val_accuracy"]
    network = torch.load(run.stage("evaluation") / "network.pt", weights_only=True)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert summary["params"] == sum(value.numel() for name, value in network.items() if not name.endswith(statistics))


def check_classes(summary: Mapping[str, Any]) -> None:
    """Check what is said class by class: the mean over images is the accuracy, over classes the balanced one."""
    assert summary["class_names"] == [str(digit) for digit in range(10)]
    assert sum(summary["search.train_images_per_class"]) == sum(summary["evaluation.train_images_per_class"]) == 120
    images, shares = summary["evaluation.test_images_per_class"], summary["evaluation.test_accuracy_per_class"]
    assert sum(images) == 359
    correct = [share * count for share, count in zip(shares, images, strict=True)]
    assert correct == pytest.approx([round(count) for count in correct])
    assert summary["evaluation.test_accuracy"] == pytest.approx(sum(correct) / 359, abs=1e-6)
    for part in ("search.val", "evaluation.val", "evaluation.test"):
        known = [share for share in summary[f"{part}_accuracy_per_class"] if share is not None]
        assert summary[f"{part}_balanced_accuracy"] == pytest.approx(sum(known) / len(known), abs=1e-6)
    for stage in ("search", "evaluation"):  # those of configs/data/digits.yaml
        assert (summary[f"{stage}.mean"], summary[f"{stage}.std"]) == ([0.3053] * 3, [0.3759] * 3)


def check_genotype(run: Run) -> None:
    genotype = Genotype.from_text(run.summary["genotype"])
    run.parts.space.check(genotype)
    for folder in (run.folder, run.stage("selection"), run.stage("evaluation")):
        assert Genotype.parse(str(folder / "genotype.json")) == genotype
    for cell in genotype:
        assert Counter(cell.edges) == Counter(decided(run, cell.name))


def decided(run: Run, cell: str) -> list[tuple[int, int, str]]:
    """Return the edges of a cell as the decisions alone say."""
    operations, into = {}, {}
    for record in run.decisions():
        if record["cell"] == cell and record["kind"] == "operation":
            operations[tuple(record["edge_states"])] = record["kept"]
        elif record["cell"] == cell:
            into[record["node"]] = [tuple(edge) for edge in record["kept"]]
    return [(*edge, kept) for edge, kept in operations.items() if edge in into.get(edge[1], [edge])]


def check_decisions(run: Run, selection: str) -> None:
    records = run.decisions()
    of_kind = Counter((record["cell"], record["kind"]) for record in records)
    if run.summary["search_space"] == "nasbench201":
        assert of_kind == {("cell", "operation"): 6}
    else:
        assert of_kind == {
            (cell, kind): number
            for cell in ("normal", "reduction")
            for kind, number in (("operation", 14), ("topology", 3))
        }
    space = json.loads((run.stage("selection") / "space.json").read_text())
    assert space == json.loads((run.stage("search") / "space.json").read_text()) == run.parts.space.describe()
    operations: dict[tuple[str, int, int], str] = {}
    for record in records:
        cell = space["cells"][record["cell"]]
        if record["kind"] == "operation":
            assert cell["edges"][record["edge"]] == record["edge_states"]
            assert cell["operations"][record["edge"]] == record["candidates"]
            assert record["kept"] in record["candidates"]
            operations[(record["cell"], *record["edge_states"])] = record["kept"]
            if selection == "perturb":
                check_operation_scores(record)
        else:
            assert record["candidates"] == [edge for edge in cell["edges"] if edge[1] == record["node"]]
            assert len(record["kept"]) == 2
            if selection == "perturb":
                check_topology_scores(record, [operations[(record["cell"], *edge)] for edge in record["candidates"]])
        if selection != "perturb":
            assert record["scores"] == []
            assert record["point"] == 0
    if selection == "perturb":
        points = 6 if "cell" in space["cells"] else 17
        assert [record["point"] for record in records] == sorted([*range(points)] * len(space["cells"]))


def check_operation_scores(record: Mapping[str, Any]) -> None:
    assert [score["candidate"] for score in record["scores"]] == record["candidates"]
    without = {score["candidate"]: score["accuracy"] for score in record["scores"]}
    assert all(0 <= accuracy <= 1 for accuracy in without.values())
    assert without[record["kept"]] == min(without.values())
    assert all(math.isfinite(score["loss"]) for score in record["scores"])


def check_topology_scores(record: Mapping[str, Any], operations: list[str]) -> None:
    left, empty, expected = len(operations), operations.count("none"), 0
    while left > 2:
        # An edge that was decided `none` goes first, and unseen.
        expected += 0 if empty > 0 else left
        left, empty = left - 1, empty - 1
    assert len(record["scores"]) == expected
    assert sorted([*record["dropped"], *record["kept"]]) == record["candidates"]
    for number, dropped in enumerate(record["dropped"]):
        seen = {tuple(score["candidate"]): score["accuracy"] for score in record["scores"] if score["round"] == number}
        assert not seen or seen[tuple(dropped)] == max(seen.values())


def check_search_history(run: Run, search: str) -> None:
    history = run.history("search")
    assert [record["epoch"] for record in history] == [*range(EPOCHS)]
    rates = {"learning_rate", *(["architecture_learning_rate"] if search == "darts" else [])}
    quality = {f"{split}_{metric}" for split in ("train", "val") for metric in ("loss", "accuracy")}
    cells = run.parts.space.describe()["cells"]
    for record in history:
        metrics = record["metrics"]
        assert set(metrics) == quality | rates | {"val_balanced_accuracy", "images_per_second", "peak_memory_gb"}
        assert metrics["images_per_second"] == pytest.approx(WEIGHT_IMAGES / record["seconds"])
        assert 0.05 < metrics["peak_memory_gb"] < 50
        assert all(0 <= metrics[f"{split}_accuracy"] <= 1 for split in ("train", "val"))
        assert all(0 < metrics[f"{split}_loss"] < 20 for split in ("train", "val"))
        cosine = (1 + math.cos(math.pi * record["epoch"] / EPOCHS)) / 2
        assert metrics["learning_rate"] == pytest.approx(0.001 + (0.025 - 0.001) * cosine)
        assert metrics.get("architecture_learning_rate", 3e-4) == pytest.approx(3e-4)
        assert {cell: [len(row) for row in rows] for cell, rows in record["alpha"].items()} == {
            cell: [max(map(len, description["operations"]))] * len(description["edges"])
            for cell, description in cells.items()
        }
        skips, edges = 0, 0
        for cell, rows in record["alpha"].items():
            assert [sum(row) for row in rows] == pytest.approx([1] * len(rows))
            entropy = [-sum(weight * math.log(weight) for weight in row) for row in rows]
            assert record["entropy"][cell] == pytest.approx(sum(entropy) / len(rows))
            strongest = [names[row.index(max(row))] for names, row in zip(cells[cell]["operations"], rows, strict=True)]
            skips, edges = skips + strongest.count("skip_connect"), edges + len(strongest)
        assert record["skip_share"] == pytest.approx(skips / edges)
        run.parts.space.check(Genotype.from_text(record["genotype"]))


def check_evaluation_history(run: Run) -> None:
    history = run.history("evaluation")
    assert [record["epoch"] for record in history] == [*range(EPOCHS)]
    peak = 0.1 if run.summary["search_space"] == "nasbench201" else 0.025
    for record in history:
        metrics = record["metrics"]
        quality = {f"{split}_{metric}" for split in ("train", "val") for metric in ("loss", "accuracy")}
        others = {"learning_rate", "images_per_second", "peak_memory_gb"}
        assert set(metrics) == quality | others | {"val_balanced_accuracy"}
        assert metrics["learning_rate"] == pytest.approx(peak * (1 + math.cos(math.pi * record["epoch"] / EPOCHS)) / 2)
        assert metrics["images_per_second"] == pytest.approx(RETRAIN_IMAGES / record["seconds"])
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert run.summary[f"evaluation.{name}"] == history[-1]["metrics"][name]


# --- What searches and selections have to do with one another. ---


@pytest.mark.parametrize("space", ["s2", "nasbench201"])
def test_fixed_alpha_leaves_alpha_as_it_was_drawn_and_darts_moves_it(space: str, logs: str) -> None:
    runs = {search: short(space, search, "random", logs) for search in SEARCHES}
    torch.manual_seed(derived_seed(0, "search", "initialisation"))
    drawn = runs["darts"].parts.space.supernet(8, 10).alphas
    alphas = {search: alphas_of(run) for search, run in runs.items()}
    for cell, alpha in drawn.items():
        assert torch.equal(alphas["fixed_alpha"][cell], alpha)
        moved = (alphas["darts"][cell] - alpha).abs() > 1e-4  # Adam's first steps are of 3e-4
        assert moved.double().mean() > 0.5
    first, last = (record["alpha"] for record in runs["fixed_alpha"].history("search"))
    assert first == last == {cell: alpha.softmax(dim=1).tolist() for cell, alpha in drawn.items()}
    first, last = (record["alpha"] for record in runs["darts"].history("search"))
    assert first != last


def alphas_of(run: Run) -> dict[str, Tensor]:
    supernet = torch.load(run.stage("search") / "supernet.pt", weights_only=True)
    return {name.removeprefix("alphas."): value for name, value in supernet.items() if name.startswith("alphas.")}


@pytest.mark.parametrize("space", ["s3", "nasbench201"])
def test_magnitude_selects_what_the_last_epoch_of_the_search_recorded(space: str, logs: str) -> None:
    run = short(space, "darts", "magnitude", logs)
    assert run.summary["genotype"] == run.history("search")[-1]["genotype"]


def test_chance_knows_the_seed_and_not_the_supernet(logs: str) -> None:
    runs = [short("s2", search, "random", "evaluation=none", logs) for search in SEARCHES]
    other = short("s2", "darts", "random", "evaluation=none", "seed=1", logs)
    genotypes = [run.summary["genotype"] for run in (*runs, other)]
    assert genotypes[0] == genotypes[1] != genotypes[2]
    supernets = [torch.load(run.stage("search") / "supernet.pt", weights_only=True) for run in (runs[0], other)]
    assert not torch.equal(*(supernet["classifier.weight"] for supernet in supernets))


def test_the_selections_of_a_search_share_its_supernet(own_logs: str) -> None:
    words = ("evaluation=none", own_logs)
    runs = [short("nasbench201", "darts", selection, *words) for selection in ("magnitude", "random")]
    assert [run.reused() for run in runs] == [{"search": reused, "selection": False} for reused in (False, True)]
    assert runs[0].stage("search") == runs[1].stage("search")


# --- Tuning between the decisions. ---


def test_a_tuning_goes_on_when_decisions_leave_no_path_from_the_images(logs: str) -> None:
    overrides = [one for one in tiny("nasbench201", "darts", "perturb_random") if "evaluation" not in one]
    run = train(*overrides, "evaluation=none", "seed=129", logs)
    assert run.summary["genotype"].endswith("/none@0+none@1+none@2")
    # The edges into the last node are 3, 4 and 5. Those decided after them are tuned with an `alpha` of no effect.
    assert {3, 4, 5} < {record["edge"] for record in run.decisions()[:4]}
    assert len(run.history("selection")) == 6


def test_a_tuned_selection_decides_an_edge_and_tunes_an_epoch_in_turn(logs: str, with_figures: None) -> None:
    run = train(*tiny("s2", "darts", "perturb", logs))
    history, records = run.history("selection"), run.decisions()
    assert [record["epoch"] for record in history] == [*range(17)]
    assert [(record["point"], record["epoch"]) for record in records] == [(n, n) for n in range(17) for _ in range(2)]
    rows = run.parts.space.describe()["cells"]
    operations: set[tuple[str, int]] = set()
    for epoch, record in enumerate(history):
        decided_now = [one for one in records if one["point"] == epoch]
        operations |= {(one["cell"], one["edge"]) for one in decided_now if one["kind"] == "operation"}
        dropped = {(one["cell"], *edge) for one in records if one["point"] <= epoch for edge in one.get("dropped", [])}
        for cell, weights in record["alpha"].items():
            for number, row in enumerate(weights):
                edge = (cell, *rows[cell]["edges"][number])
                shape = "dropped" if not any(row) else "decided" if sorted(row) == [0, 1] else "mixed"
                expected = "dropped" if edge in dropped else "decided" if (cell, number) in operations else "mixed"
                assert (epoch, edge, shape) == (epoch, edge, expected)
        assert record["metrics"]["learning_rate"] == pytest.approx(0.0025)
    cells = [cell for cell in Genotype.from_text(run.summary["genotype"])]
    names = [operation for cell in cells for _, _, operation in cell.edges]
    assert history[-1]["skip_share"] == pytest.approx(names.count("skip_connect") / len(names))
    assert history[-1]["genotype"] == run.summary["genotype"]
    assert not torch.equal(
        torch.load(run.stage("search") / "supernet.pt", weights_only=True)["classifier.weight"],
        torch.load(run.stage("selection") / "supernet.pt", weights_only=True)["classifier.weight"],
    )
    assert figures(run) == {
        "cells",
        *("search_curves", "search_alpha", "selection_curves", "selection_alpha", "evaluation_curves"),
        *("search_alpha_map", "selection_alpha_map", "operation_strengths", "topology_strengths"),
    }


def figures(run: Run) -> set[str]:
    """Return the names of a run's figures, each checked to be a picture."""
    for file in (run.folder / "figures").iterdir():
        content = file.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
        assert len(content) > 5_000
    return {file.stem for file in (run.folder / "figures").iterdir()}


def test_the_figures_of_a_selection_that_scores_nothing(logs: str, with_figures: None) -> None:
    run = short("nasbench201", "darts", "magnitude", logs)
    assert figures(run) == {"cells", "search_curves", "search_alpha", "search_alpha_map", "evaluation_curves"}


def test_metrics_csv_has_every_number_of_every_epoch(logs: str) -> None:
    run = train(*tiny("nasbench201", "darts", "perturb", logs))
    with (run.folder / "csv" / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    made = [(kind, record) for kind in ("search", "selection", "evaluation") for record in run.history(kind)]
    assert [int(row["step"]) for row in table] == [*range(len(made))]
    for row, (kind, record) in zip(table, made, strict=True):
        filled = {key for key, value in row.items() if value and key != "step"}
        expected = {"epoch", "seconds", *record["metrics"]}
        if kind != "evaluation":
            cell = run.parts.space.describe()["cells"]["cell"]
            expected |= {"skip_share", "entropy/cell"}
            for (source, target), names in zip(cell["edges"], cell["operations"], strict=True):
                expected |= {f"alpha/cell/{source}-{target}/{name}" for name in names}
            assert float(row[f"{kind}/alpha/cell/1-3/nor_conv_3x3"]) == pytest.approx(record["alpha"]["cell"][4][3])
        assert filled == {f"{kind}/{name}" for name in expected}
        assert float(row[f"{kind}/train_loss"]) == pytest.approx(record["metrics"]["train_loss"])


# --- The test images. ---


class Spy:
    """Notes when the test images are asked for: while which stages were at work, after which were finished."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, logs: Path) -> None:
        self.splits: set[Split] = set()
        self.seen: list[tuple[set[str], set[str]]] = []
        self.logs = logs
        opening, test = Digits.open, ImageData.test

        def spied_open(digits: Digits, split: Split) -> EncodedImages:
            self.splits.add(split)
            return opening(digits, split)

        def spied_test(data: ImageData) -> ImageTensors:
            self.note()
            images: ImageTensors = test.__get__(data)
            return images

        monkeypatch.setattr(Digits, "open", spied_open)
        monkeypatch.setattr(ImageData, "test", property(spied_test))

    def note(self) -> None:
        begun, finished = (
            {file.parent.parent.name for file in self.logs.glob(f"stages/*/*/{name}.json")}
            for name in ("identity", "finished")
        )
        self.seen.append((begun - finished, finished))


def test_the_test_images_are_not_opened_during_search_and_selection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spy = Spy(monkeypatch, tmp_path)
    short("nasbench201", "darts", "perturb", f"logs={tmp_path}")
    assert all(working in (set(), {"evaluation"}) for working, _ in spy.seen)
    assert spy.seen[-1] == ({"evaluation"}, {"search", "selection"})


def test_a_search_and_a_selection_alone_do_not_even_look_for_the_test_split(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spy = Spy(monkeypatch, tmp_path)
    run = short("nasbench201", "darts", "perturb", "evaluation=none", f"logs={tmp_path}")
    assert (spy.splits, spy.seen) == ({"train"}, [])
    assert run.summary["params"] is None
    assert not [key for key in run.summary if key.startswith("evaluation.")]
    assert list(run.summary["stages"]) == ["search", "selection"]


# --- Runs that are not search, selection and retraining. ---


@pytest.mark.parametrize("given", ["name", "file"])
def test_a_genotype_that_is_given_skips_search_and_selection(
    given: str, logs: str, tmp_path: Path, with_figures: None
) -> None:
    text = "DARTS_V2"
    if given == "file":
        text = str(tmp_path / "genotype.json")
        Path(text).write_text(PUBLISHED["DARTS_V2"].to_json())
    run = train(*tiny("darts", "darts", "perturb", f"genotype={text}", logs))
    assert list(run.summary["stages"]) == ["evaluation"]
    assert Genotype.from_text(run.summary["genotype"]) == PUBLISHED["DARTS_V2"]
    assert (run.summary["search"], run.summary["selection"]) == (None, None)
    assert "search.val_accuracy" not in run.summary
    assert run.summary["evaluation.test_accuracy"] > 0
    assert figures(run) == {"cells", "evaluation_curves"}


def test_a_cell_of_nasbench201_is_looked_up(logs: str, tmp_path: Path) -> None:
    operations = ("skip_connect", "nor_conv_3x3")
    table = table_of(operations, tmp_path / "table.csv")
    choices = [
        *("experiment=nasbench201_small", "data=digits", "data.train_subset=120", "selection=random", "trainer=cpu"),
        *("search.epochs=1", "search.batch_size=30", "search_space.channels=4", logs),
        f"search_space.operations=[{','.join(operations)}]",
    ]
    run = train(*choices, f"evaluation.table={table}")
    genotype = Genotype.from_text(run.summary["genotype"])
    looked_up = {key[11:]: value for key, value in run.summary.items() if key.startswith("evaluation.")}
    convolutions = [edge for edge in decided(run, "cell") if edge[2] == "nor_conv_3x3"]
    number = sum(1 << ARCHITECTURE_EDGES.index((source, target)) for source, target, _ in convolutions)
    assert looked_up == {
        "index": number,
        "arch": genotype.to_nasbench201(),
        **{"cifar10_test": 20.0 + number, "cifar10_valid": 10.0 + number, "cifar100_test": 90.0 - number},
        **{"cifar100_valid": 5.5, "imagenet16_120_test": 12.25, "imagenet16_120_valid": 1.25},
        **{"rank": 64 - number, "cifar100_rank": 1 + number, "imagenet16_120_rank": 1, "of": 64},
    }
    assert run.summary["evaluation"] == "nasbench201"
    # In three stages of five cells with 16, 32 and 64 channels; the rest of the network has 73,306 weights.
    assert run.summary["params"] == 73_306 + sum(5 * len(convolutions) * (9 * c * c + 2 * c) for c in (16, 32, 64))
    again = train(*choices, f"evaluation.table={table.rename(tmp_path / 'elsewhere.csv')}")
    assert again.reused()["evaluation"]


def test_the_table_of_the_package_is_looked_up_at_once(own_logs: str, tmp_path: Path) -> None:
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    words = ["experiment=nasbench201_small", "data=digits", "data.train_subset=120", f"genotype='{best}'", own_logs]
    run = train(*words)
    assert [run.summary[f"evaluation.{name}"] for name in ("index", "rank", "of")] == [6111, 1, 15_625]
    written = "".join(file.read_text() for file in Path(own_logs.removeprefix("logs=")).rglob("*") if _is_text(file))
    assert '"cifar10_test": 94.3733' in written and str(PACKAGED.parent) not in written
    same, other = tmp_path / "same.parquet", tmp_path / "other.csv"
    shutil.copy(PACKAGED, same)
    pd.read_parquet(PACKAGED).assign(cifar10_test=50.0).to_csv(other, index=False)
    assert train(*words, f"evaluation.table={same}").reused()["evaluation"]
    again = train(*words, f"evaluation.table={other}")
    assert not again.reused()["evaluation"] and again.summary["evaluation.cifar10_test"] == 50


def _is_text(file: Path) -> bool:
    return file.suffix in (".json", ".yaml", ".log", ".jsonl", ".csv") and file.is_file()


ARCHITECTURE_EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def table_of(operations: tuple[str, str], path: Path) -> Path:
    """Write a table of all cells of two operations; bit n of a cell's number says which is on edge n."""
    rows = []
    for number in range(64):
        on = [operations[number >> edge & 1] for edge in range(6)]
        arch = f"|{on[0]}~0|+|{on[1]}~0|{on[2]}~1|+|{on[3]}~0|{on[4]}~1|{on[5]}~2|"
        rows.append((number, arch, 20.0 + number, 10.0 + number, 90.0 - number, 5.5, 12.25, 1.25))
    names = [f"{data}_{split}" for data in ("cifar10", "cifar100", "imagenet16_120") for split in ("test", "valid")]
    pd.DataFrame(rows, columns=["index", "arch", *names]).to_csv(path, index=False)
    return path


# --- The command itself. ---


def test_python_train_py_ends_with_a_table_and_typed_again_returns_what_is_there(own_logs: str) -> None:
    arguments = [*tiny("nasbench201", "fixed_alpha", "random"), own_logs]
    command = [sys.executable, str(TRAIN), *arguments]
    ended = subprocess.run(command, cwd=TRAIN.parent, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    (written,) = Path(own_logs.removeprefix("logs=")).glob("runs/*/*/summary.json")
    first = Run(written.parent)
    shown = "".join(part for part in ended.stdout if part not in "│ \n")
    assert f"{100 * first.summary['evaluation.test_accuracy']:.2f}%" in shown
    assert str(first.folder) in shown
    assert f"next python analyze.py analysis=operation_strength run={first.folder}" in ended.stdout
    assert f"python predict.py images=test run={first.folder}" in ended.stdout
    assert f"python export.py format=onnx run={first.folder}" in ended.stdout
    assert f"python -m archselect.reporting {own_logs.removeprefix('logs=')}" in ended.stdout
    assert "Traceback" not in ended.stderr and "Warning" not in ended.stderr
    again = train(*arguments)
    assert again.folder != first.folder
    assert again.reused() == dict.fromkeys(("search", "selection", "evaluation"), True)
    unstaged = [{key: value for key, value in run.summary.items() if key != "stages"} for run in (first, again)]
    assert unstaged[0] == unstaged[1]
    assert [first.stage(kind) for kind in first.reused()] == [again.stage(kind) for kind in again.reused()]
    provenance = json.loads((first.stage("search") / "provenance.json").read_text())
    assert [session["command"] for session in provenance] == [["train.py", *arguments]]


def test_without_a_compiler_a_run_says_so_and_ends_all_the_same(own_logs: str, tmp_path: Path) -> None:
    without = {"CC": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = Apart(tmp_path, [*tiny("nasbench201", "fixed_alpha", "random"), own_logs], environment=without)
    assert process.end().code == 0, process.output.read_text()
    assert process.output.read_text().count("there is no C compiler: install one") == 1
    (written,) = Path(own_logs.removeprefix("logs=")).glob("runs/*/*/summary.json")
    assert Run(written.parent).summary["evaluation.test_accuracy"] >= 0


@pytest.mark.slow
def test_the_quickstart_reaches_what_its_header_promises(own_logs: str) -> None:
    assert train("experiment=quickstart", own_logs).summary["evaluation.test_accuracy"] >= 0.96
