"""`python predict.py`: what the network of a run says of images in a folder, or of its own test images."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.command import TRAIN, Run, _script

from archselect import load_network
from archselect.deployment.answers import target
from archselect.deployment.images import by_table
from archselect.deployment.predict import Prediction
from archselect.pipeline.command_line import images_name
from archselect.tasks import Classification

PREDICT = TRAIN.parent / "predict.py"
Capture = pytest.CaptureFixture[str]


def predicted(run: Run, images: object, *options: str) -> tuple[list[dict[str, str]], Path]:
    """Return the table of predictions, and the folder that it lies in."""
    _script(PREDICT, [f"run={run.folder}", f"images={images}", *options])
    folder = run.folder / "predictions" / images_name(str(images))
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file)), folder


@pytest.fixture
def pictures(trained_run: Run, tmp_path: Path) -> Path:
    """Forty test images as files, each in the folder of its class."""
    test, folder = trained_run.parts.data.test, tmp_path / "pictures"
    for number in range(40):
        place = folder / str(int(test.labels[number])) / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.images[number].permute(1, 2, 0).numpy()).save(place)
    return folder


def test_the_test_images_give_the_runs_accuracy_to_the_last_image(trained_run: Run, capsys: Capture) -> None:
    rows, folder = predicted(trained_run, "test", "probabilities=true", "batch_size=100")
    accuracy, test = trained_run.summary["evaluation.test_accuracy"], trained_run.parts.data.test
    right = [row["class"] == row["true_class"] for row in rows]
    assert len(rows) == len(test) and sum(right) == round(accuracy * len(test))
    assert f"{len(test)} images: accuracy {accuracy:.4f} ({sum(right)} of them)" in capsys.readouterr().out
    network = load_network(trained_run.folder)
    with torch.no_grad():
        expected = network(network.normalize(test.images)).softmax(dim=1)
    said = torch.tensor([[float(row[f"p({name})"]) for name in network.classes] for row in rows])
    torch.testing.assert_close(said, expected)
    assert [row["class"] for row in rows] == [network.classes[i] for i in expected.argmax(dim=1)]
    with Image.open(folder / "mistakes.png") as sheet:
        assert sheet.width > 500 and len(sheet.getcolors(1 << 24) or []) > 20


def test_a_folder_per_class_says_what_is_true_and_a_table_does_too(
    trained_run: Run, pictures: Path, tmp_path: Path, capsys: Capture
) -> None:
    rows, _ = predicted(trained_run, pictures)
    assert [row["file"] for row in rows] == sorted(str(file.relative_to(pictures)) for file in pictures.rglob("*.png"))
    assert all(row["true_class"] == row["file"][0] for row in rows)
    right = sum(row["class"] == row["true_class"] for row in rows)
    assert f"40 images: accuracy {right / 40:.4f} ({right} of them)" in capsys.readouterr().out
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in pictures.rglob("*.png"):
        file.rename(flat / file.name)
    unknown, folder = predicted(trained_run, flat)
    assert "what is true of them is not known" in capsys.readouterr().out
    assert set(unknown[0]) == {"file", "class", "probability"} and not (folder / "mistakes.png").exists()
    said = {Path(row["file"]).name: row["class"] for row in rows}
    assert {row["file"]: row["class"] for row in unknown} == said
    table = tmp_path / "labels.csv"
    table.write_text("file,class\n" + "".join(f"{name},{label}\n" for name, label in said.items()))
    rows, _ = predicted(trained_run, flat, f"labels={table}")
    assert "accuracy 1.0000 (40 of them)" in capsys.readouterr().out


def refused(run: Run, capsys: Capture, *options: str) -> str:
    with pytest.raises(SystemExit):
        _script(PREDICT, [f"run={run.folder}", *options])
    return capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named_and_stops_or_is_left_out(
    trained_run: Run, pictures: Path, capsys: Capture
) -> None:
    broken = pictures / "3" / "broken.png"
    broken.write_bytes(next(pictures.rglob("*.png")).read_bytes()[:40])
    said = refused(trained_run, capsys, f"images={pictures}")
    assert str(broken) in said and "With on_broken=skip" in said
    rows, _ = predicted(trained_run, pictures / "3", "on_broken=skip")
    told = capsys.readouterr().out
    assert "broken.png" in told and "left out" in told
    assert "broken.png" not in {row["file"] for row in rows} and rows


def test_images_of_another_size_are_refused_or_scaled(trained_run: Run, tmp_path: Path, capsys: Capture) -> None:
    large = tmp_path / "large"
    large.mkdir()
    test = trained_run.parts.data.test
    picture = Image.fromarray(test.images[0].permute(1, 2, 0).numpy())
    picture.resize((32, 32), Image.Resampling.NEAREST).save(large / "0.png")
    said = refused(trained_run, capsys, f"images={large}")
    assert "0.png is not like the images that the network was trained on, which have 8 x 8 pixels" in said
    assert "With resize=true" in said
    (row,), _ = predicted(trained_run, large, "resize=true")
    network = load_network(trained_run.folder)
    with torch.no_grad():
        best = network(network.normalize(test.images[:1])).softmax(dim=1)[0]
    assert row["class"] == network.classes[int(best.argmax())]


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("images", "nowhere", "images is nowhere, which does not exist"),
        ("on_broken", "ignore", "on_broken must be one of stop, skip"),
        ("batch_size", 0, "batch_size must be a whole number above 0"),
        ("resize", "maybe", "resize must be true or false"),
        ("labels", "nowhere.csv", "labels is nowhere.csv, which is no file"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(trained_run: Run, pictures: Path, option: str, value: Any, why: str) -> None:
    options: dict[str, Any] = {"images": str(pictures), "labels": None, "resize": None, "on_broken": "stop"}
    options |= {"batch_size": 8, "probabilities": False, "mistakes": 0, option: value}
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        Prediction(**options).asked(trained_run.parts.data, load_network(trained_run.folder))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("name,class\na.png,1\n", "has no column file"),
        ("file,class\nb.png,1\n", "has no row for a.png"),
        ("file,class\na.png,eleven\n", "names 'eleven', which the network does not know; it knows one, two"),
        ("file,label\na.png,one\n", "has no column 'class'"),
    ],
    ids=["no_file", "no_row", "class", "no_class"],
)
def test_a_table_that_does_not_fit_is_a_sentence(table: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match=why):
        by_table(tmp_path / "labels.csv", ["a.png"], lambda row: target(Classification(), row, ("one", "two")))
