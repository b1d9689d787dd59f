"""Every layout becomes a table with the numbers that were put in; what is wrong with a file is said in a sentence."""

import pickle
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.evaluation.convert.layouts import (
    ARCHS,
    WRITERS,
    accuracies,
    nats,
    trained,
    write_nats,
    write_nats_simple,
    write_old_torch,
    write_pickle,
    write_torch,
)

from archselect.evaluation.convert.command import main
from archselect.evaluation.nasbench201 import NASBench201Table
from archselect.genotype import Genotype

Writer = Callable[[Path, Sequence[str], Mapping[int, Any]], Path]


def made(seeds: Sequence[int] = (3, 1, 2)) -> dict[int, dict[str, Any]]:
    """The results of three architectures, with so many seeds each, in no order."""
    return {index: trained(index, ARCHS[index], accuracies(seeds[index], 40.0 + 10 * index)) for index in (2, 0, 1)}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_table_has_the_mean_of_the_last_accuracies_over_the_seeds(write: Writer, tmp_path: Path) -> None:
    path = write(tmp_path, ARCHS, made())
    assert main([str(path), "--out", str(tmp_path / "table.csv"), "--incomplete"]) == 0

    rows = pd.read_csv(tmp_path / "table.csv")
    assert rows["index"].tolist() == [0, 1, 2] and rows["n_seeds"].tolist() == [3, 1, 2]
    table = NASBench201Table(tmp_path / "table.csv")
    # Seeds differ by 0, 0.01 and 0.04: their means by 0.0167 (three), 0 (one) and 0.005 (two).
    for index, more in enumerate((0.0167, 0.0, 0.005)):
        first = 40 + 10 * index + more
        row = table.look_up(Genotype.from_nasbench201(ARCHS[index]))
        assert (row.cifar10_valid, row.cifar10_test) == pytest.approx((first, first + 2), abs=1e-9)
        assert (row.cifar100_valid, row.cifar100_test) == pytest.approx((first + 4, first + 5), abs=1e-9)
        assert (row.imagenet16_120_valid, row.imagenet16_120_test) == pytest.approx((first + 7, first + 8), abs=1e-9)


def test_objects_of_the_benchmark_are_read_as_their_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("nas_201_api.api_utils")
    for name in ("ArchResults", "ResultsCount"):
        setattr(module, name, type(name, (), {"__module__": module.__name__}))
    monkeypatch.setitem(sys.modules, "nas_201_api", types.ModuleType("nas_201_api"))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def made_object(name: str, fields: Mapping[str, Any]) -> Any:
        one = getattr(module, name)()
        one.__dict__.update(fields)
        return one

    results = made()
    for full in results.values():
        full["all_results"] = {key: made_object("ResultsCount", one) for key, one in full["all_results"].items()}
    content = {index: {"full": made_object("ArchResults", full)} for index, full in results.items()}
    torch.save({"meta_archs": list(ARCHS), "arch2infos": content}, tmp_path / "objects.pth")
    write_torch(tmp_path, ARCHS, made())
    for name in ("objects", "NAS-Bench-201-v1_1-096897"):
        assert main([str(tmp_path / f"{name}.pth"), "--out", str(tmp_path / f"{name}.csv"), "--incomplete"]) == 0
    assert (tmp_path / "objects.csv").read_text() == (tmp_path / "NAS-Bench-201-v1_1-096897.csv").read_text()


def test_a_parquet_table_and_a_numpy_accuracy_and_a_plain_pickle(tmp_path: Path) -> None:
    results = made()
    trial = results[0]["all_results"]["cifar10", 777]
    trial["eval_acc1es"]["ori-test@199"] = trial["params"]  # numpy's 0.129306
    (tmp_path / "plain.pickle").write_bytes(pickle.dumps(nats(ARCHS, results), protocol=4))
    assert main([str(tmp_path / "plain.pickle"), "--out", str(tmp_path / "table.parquet"), "--incomplete"]) == 0
    row = NASBench201Table(tmp_path / "table.parquet").look_up(Genotype.from_nasbench201(ARCHS[0]))
    assert row.cifar10_test == round((0.129306 + 42.01 + 42.04) / 3, 4)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_missing_architectures_are_counted_and_nothing_is_written(
    write: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ARCHS, made())
    assert main([str(path), "--out", str(tmp_path / "table.csv")]) == 1
    assert "has results of 3 of the 15,625 architectures" in said(capsys)
    assert not (tmp_path / "table.csv").exists()


def test_a_whole_benchmark_needs_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole is here all of three cells."""
    monkeypatch.setattr("archselect.evaluation.convert.table.CELLS", frozenset(ARCHS))
    assert main([str(write_nats_simple(tmp_path, ARCHS, made())), "--out", str(tmp_path / "table.csv")]) == 0
    assert len(NASBench201Table(tmp_path / "table.csv")) == 3


def without_an_image_set(results: dict[int, Any]) -> None:
    del results[1]["all_results"]["cifar100", 777]["eval_acc1es"]["x-test@199"]


def without_a_data_set(results: dict[int, Any]) -> None:
    del results[1]["dataset_seed"]["cifar100"]


def without_a_seed(results: dict[int, Any]) -> None:
    results[1]["dataset_seed"]["cifar100"] = []


def of_another_architecture(results: dict[int, Any]) -> None:
    results[1]["arch_str"] = ARCHS[2]


def of_fewer_epochs(results: dict[int, Any]) -> None:
    results[1]["all_results"]["cifar100", 777]["epochs"] = 90


def as_a_share(results: dict[int, Any]) -> None:
    results[1]["all_results"]["cifar100", 777]["eval_acc1es"]["x-test@199"] = float("nan")


def beyond_the_list(results: dict[int, Any]) -> None:
    results[3] = results.pop(1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_an_image_set, f"architecture 1 ({ARCHS[1]}) in * after 200 epochs lack 'x-test@199'"),
        (without_a_data_set, "architecture 1 * after 200 epochs lack 'cifar100'"),
        (without_a_seed, "architecture 1 * have no seed on cifar100"),
        (of_another_architecture, f"architecture 1 * are those of {ARCHS[2]}"),
        (of_fewer_epochs, "on cifar100 are of 90 epochs; the table's are of 200"),
        (as_a_share, "on cifar100, x-test, is nan, no percentage"),
        (beyond_the_list, "results of an architecture 3, and 3 architectures"),
    ],
)
def test_a_result_that_is_missing_or_wrong_is_named(
    spoil: Callable[[dict[int, Any]], None], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = made()
    spoil(results)
    path = write_nats(tmp_path, ARCHS, results)
    assert main([str(path), "--out", str(tmp_path / "table.csv"), "--incomplete"]) == 1
    words = said(capsys)
    for part in sentence.split("*"):
        assert part.strip() in words
    assert not (tmp_path / "table.csv").exists()


def test_other_files_are_refused_by_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.pth").write_text("index,arch\n")
    (tmp_path / "folder").mkdir()
    torch.save([1, 2], tmp_path / "list.pth")
    write_pickle(tmp_path / "sss.pickle.pbz2", {"meta_archs": ["8:8:8:8:8"], "arch2infos": {}})
    write_pickle(tmp_path / "twice.pickle.pbz2", {"meta_archs": [ARCHS[0]] * 2, "arch2infos": {}})
    write_pickle(tmp_path / "meta.pickle.pbz2", {"meta_archs": list(ARCHS), "arch2infos": None})
    (tmp_path / "zip.pth").write_bytes(b"PK\x05\x06" + bytes(18))
    for name, sentence in {
        "text.pth": "is no pickle, alone, in bz2 or from torch.save",
        "folder": "is no folder of NATS-Bench: it has no meta.pickle.pbz2",
        "list.pth": "it has no meta_archs and no arch2infos",
        "sss.pickle.pbz2": "is of another search space: '8:8:8:8:8'",
        "twice.pickle.pbz2": "lists an architecture twice",
        "meta.pickle.pbz2": "it has no arch2infos",
        "zip.pth": "is no pickle",
        "absent.pth": "There is no file or folder",
    }.items():
        assert main([str(tmp_path / name), "--out", str(tmp_path / "table.csv")]) == 1
        words = said(capsys)
        assert sentence in words and name in words
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999], ids=["start", "middle", "end"])
@pytest.mark.parametrize("write", [write_old_torch, write_torch, write_nats], ids=["old torch", "torch", "nats"])
def test_a_file_that_ends_early_is_called_so(
    write: Writer, share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ARCHS, made())
    whole = path.read_bytes()
    if write is write_old_torch:  # what comes after the results is not read
        whole = whole[: whole.rindex(b".", 0, -8)]
    path.write_bytes(whole[: int(share * len(whole))])
    assert main([str(path), "--out", str(tmp_path / "table.csv"), "--incomplete"]) == 1
    words = said(capsys)
    assert f"{path} is not converted" in words
    assert "ends early" in words or (write is write_torch and "is damaged" in words)
    assert not (tmp_path / "table.csv").exists()


def test_a_damaged_file_of_a_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_nats_simple(tmp_path, ARCHS, made())
    damaged = path / "000001.pickle.pbz2"
    damaged.write_bytes(damaged.read_bytes()[:200] + bytes(50) + damaged.read_bytes()[250:])
    assert main([str(path), "--out", str(tmp_path / "table.csv"), "--incomplete"]) == 1
    words = said(capsys)
    assert "000001.pickle.pbz2" in words and "is damaged" in words


def test_a_table_that_is_there_is_replaced_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_nats(tmp_path, ARCHS, made()), tmp_path / "table.csv"
    out.write_text("mine\n")
    assert main([str(path), "--out", str(out), "--incomplete"]) == 1
    assert "is there already" in said(capsys) and out.read_text() == "mine\n"
    assert main([str(path), "--out", str(out), "--incomplete", "--overwrite"]) == 0
    assert len(NASBench201Table(out)) == 3
    assert main([str(path), "--out", str(tmp_path / "table.txt")]) == 1
    assert "is a .csv or a .parquet file" in said(capsys)
    assert main([str(path), "--out", str(tmp_path / "absent" / "table.csv")]) == 1
    assert "There is no folder" in said(capsys)
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "table.csv"]
