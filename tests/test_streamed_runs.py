"""Whole runs on images that stay on disk: they come to what they come to in memory, and survive a file that breaks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from tests.command import Run, tiny, train
from tests.conftest import without_figures
from tests.sameness import same

from archselect.data import DeviceLoader, StreamLoader
from archselect.data import stream as streaming
from archselect.data.decode import EncodedImages
from archselect.search import SearchModule

EPOCHS, STEPS = 3, 3
NAMES = ("crow", "gull")


@pytest.fixture(scope="module", autouse=True)
def _no_figures_of_runs_that_tests_share() -> Iterator[None]:
    with without_figures():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator, place = np.random.default_rng(0), tmp_path_factory.mktemp("images") / "birds"
    for split, count in (("train", 24), ("test", 4)):
        for name in NAMES:
            (place / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / split / name / f"{number:02}.png")
    return place


def command(folder: Path, logs: Path, storage: str = "stream", *more: str) -> list[str]:
    """Return the overrides of a search of 3 epochs of 3 steps, and a retraining."""
    own = ["data=image_folder", f"data.path={folder}", "data.train_subset=null", f"data.storage={storage}"]
    own += ["data.workers=2", "search.batch_size=8", f"search.epochs={EPOCHS}", "selection=magnitude"]
    return [*tiny("s2", "darts", "magnitude"), *own, "evaluation.batch_size=16", f"logs={logs}", *more]


@pytest.fixture(scope="module")
def in_memory(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(*command(folder, tmp_path_factory.mktemp("logs"), "memory"))


def test_a_run_comes_to_what_it_comes_to_in_memory(
    in_memory: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(streaming, "KEPT_BELOW", 0)
    monkeypatch.setenv("COLUMNS", "300")
    with (
        mock.patch.object(StreamLoader, "_moved", autospec=True, side_effect=StreamLoader._moved) as read,
        mock.patch.object(DeviceLoader, "__init__", side_effect=AssertionError("nothing is kept in memory")),
    ):
        run = train(*command(folder, tmp_path / "logs"))
    same(in_memory, run)
    assert read.call_count > 3 * EPOCHS * STEPS  # weights, alpha and validation, and the retraining
    assert (
        "read from disk while they are needed, for decoded they would take 0.0 GiB (2 threads"
        in capsys.readouterr().out
    )


def breaking(file: Path) -> Callable[..., None]:
    """Return what begins an epoch, and cuts a file off in the third."""
    begin = SearchModule.on_train_epoch_start

    def on_train_epoch_start(module: SearchModule) -> None:
        if module.current_epoch == 2:
            file.write_bytes(file.read_bytes()[:60])
        begin(module)

    return on_train_epoch_start


@pytest.mark.slow  # tests/data/test_stream.py names the file and begins after some batches; test_recovery.py goes on
def test_a_file_that_breaks_in_epoch_3_is_named_and_put_back_loses_nothing(
    in_memory: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "train" / "crow" / "05.png"
    content = file.read_bytes()
    try:
        with mock.patch.object(SearchModule, "on_train_epoch_start", breaking(file)), pytest.raises(SystemExit):
            train(*command(folder, tmp_path / "logs"))
    finally:
        file.write_bytes(content)
    assert f"{file} is an image that cannot be decoded" in capsys.readouterr().err
    steps: list[Any] = []
    step = SearchModule.training_step
    with mock.patch.object(SearchModule, "training_step", lambda *args: steps.append(step(*args))):
        run = train(*command(folder, tmp_path / "logs"))
    same(in_memory, run)
    assert len(steps) < EPOCHS * STEPS - 2 * STEPS + 1


@pytest.mark.slow
def test_a_file_that_breaks_in_epoch_3_is_left_out_told_of_and_counted(
    in_memory: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "train" / "gull" / "07.png"
    content, runs = file.read_bytes(), []
    try:
        for number in range(2):
            more = ("data.on_broken=skip", "evaluation=none", f"data.workers={1 + 3 * number}")
            overrides = command(folder, tmp_path / f"logs{number}", "stream", *more)
            with mock.patch.object(SearchModule, "on_train_epoch_start", breaking(file)):
                runs.append(train(*(one for one in overrides if not one.startswith("evaluation."))))
            file.write_bytes(content)
    finally:
        file.write_bytes(content)
    same(*runs)
    assert runs[0].summary["search.broken_images"] == 1
    assert "search.broken_images" not in in_memory.summary
    histories = [[record["alpha"] for record in run.history("search")] for run in (in_memory, runs[0])]
    assert histories[0][:2] == histories[1][:2] and histories[0][2] != histories[1][2]
    assert capsys.readouterr().err.count(f"{file} is an image that cannot be decoded") == 2  # once in each run


@pytest.mark.slow
def test_a_run_may_be_augmented_as_on_imagenet_and_no_two_crops_are_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    own = ["data.crop=resized", "data.channels=3", "data.center_crop=0.875", "evaluation.cutout=2"]
    own += ["data.color_jitter={brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.2}", "data.image_size=8"]
    with mock.patch.object(EncodedImages, "pixels", autospec=True, side_effect=EncodedImages.pixels) as read:
        run = train(*command(folder, tmp_path / "logs", "auto", *own))
    seeds = [seed for call in read.call_args_list for seed in call.args[3:] if seed is not None]
    assert len({*seeds}) == len(seeds) >= EPOCHS * 48  # weights and alpha, and the retraining
    assert "for each is cropped anew, at its own size (2 threads decode; data.storage=auto)" in capsys.readouterr().out
    assert 0 <= run.summary["evaluation.test_accuracy"] <= 1
