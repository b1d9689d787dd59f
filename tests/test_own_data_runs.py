"""A whole run on a data set of one's own, whose classes have 20, 6 and 2 images: what it says of them."""

import csv
import shutil
from itertools import product
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from tests.command import Run, tiny, train
from tests.models.own_parts import MeanAndMaximum, Patches

from archselect.deployment import load_network
from archselect.reporting.report import main as report

NAMES = ["crow", "gull", "wren"]


def saved(folder: Path) -> Path:
    """Write the data set as `save_to_disk` does, with other columns and splits than the usual ones."""
    generator = np.random.default_rng(0)
    features = datasets.Features({"photo": datasets.Image(), "species": datasets.ClassLabel(names=NAMES)})
    made = {}
    for split, counts in {"training": (20, 6, 2), "validation": (4, 4, 0)}.items():
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        photos = [Image.fromarray(generator.integers(256, size=(8, 8, 3), dtype=np.uint8)) for _ in labels]
        made[split] = datasets.Dataset.from_dict({"photo": photos, "species": labels}, features)
    datasets.DatasetDict(made).save_to_disk(folder)
    return folder


def ran(place: Path, logs: Path) -> Run:
    overrides = ["data=huggingface", f"data.path={place}", "data.source.test_split=validation", f"logs={logs}"]
    own = ["data.train_subset=null", "evaluation.batch_size=7", "evaluation.validation_share=0.25", "genotype=DARTS_V2"]
    return train(*tiny("darts"), *overrides, *own)


def test_a_run_on_own_data_says_what_they_are_and_how_each_class_fares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    logs = tmp_path / "logs"
    one = ran(saved(tmp_path / "a" / "birds"), logs)
    printed = capsys.readouterr().out
    name = one.summary["data"]
    assert f"{name}: 28 training images of 3 classes (crow: 20, gull: 6, wren: 2), 8 x 8 pixels; mean [0." in printed
    assert "measured on them" in printed
    assert "warning: the test images have none of 1 of the 3 classes (wren)" in printed
    assert "(balanced: " in printed
    shares = one.summary["evaluation.test_accuracy_per_class"]
    assert one.summary["class_names"] == NAMES
    assert one.summary["evaluation.train_images_per_class"] == [20, 6, 2]
    assert one.summary["evaluation.test_images_per_class"] == [4, 4, 0]
    assert shares[2] is None
    assert one.summary["evaluation.test_balanced_accuracy"] == pytest.approx((shares[0] + shares[1]) / 2)
    assert one.summary["evaluation.test_accuracy"] == pytest.approx((4 * shares[0] + 4 * shares[1]) / 8)
    assert f"crow: {100 * shares[0]:.2f} % (20 images to train, 4 to test)" in printed
    assert "wren: not tested (2 images to train, 0 to test)" in printed
    assert one.summary["evaluation.mean"] == list(one.parts.data.normalisation.mean)

    # The same images elsewhere are another name in folders and reports, and the stage that is there.
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    other = ran(tmp_path / "b" / "birds", logs)
    assert other.reused() == {"evaluation": True}
    assert other.summary["data"] != name and other.summary["data"].startswith("birds-")
    assert name in one.folder.parent.name and other.summary["data"] in other.folder.parent.name
    report([str(logs)])
    with (logs / "report.csv").open() as file:
        assert {row["data"] for row in csv.DictReader(file)} == {name, other.summary["data"]}


def test_a_run_on_arrays_of_six_channels_with_a_stem_and_a_head_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    for split, label in product(("train", "test"), ("dry", "wet")):
        (tmp_path / "set" / split / label).mkdir(parents=True)
        for number in range(12):
            np.save(
                tmp_path / "set" / split / label / f"{number}.npy",
                generator.integers(256, size=(16, 16, 6)).astype("u1"),
            )
    parts = "tests.models.own_parts"
    own = ["data=image_folder", f"data.path={tmp_path / 'set'}", "data.train_subset=null", "selection=magnitude"]
    ends = [
        f"search_space.stem={{_target_: {parts}.Patches, side: 2}}",
        f"search_space.head={{_target_: {parts}.MeanAndMaximum}}",
    ]
    small = ["search.batch_size=6", "evaluation.batch_size=6", f"logs={tmp_path / 'logs'}"]
    run = train(*tiny("s2"), *own, *ends, *small)
    assert "16 x 16 pixels in 6 channels; mean [" in capsys.readouterr().out
    network = load_network(run.folder, trusted=["tests"])
    assert (network.channels, network.network.reduction) == (6, 2)
    assert isinstance(network.network.stem, Patches) and isinstance(network.network.classifier, MeanAndMaximum)
