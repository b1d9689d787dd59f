import os
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from tests.data.small_sets import encoded, folder_data, hub_data, image_data, picture, write_image, write_parquet

from archselect.data import HubImages, ImageFolder, ImageTensors
from archselect.data.sources import IMAGE_SUFFIXES


def numbers(split: ImageTensors) -> list[int]:
    """Which `picture` each image is, after checking that it is whole."""
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    assert (split.images[:, 1] == rows).all() and (split.images[:, 2] == columns).all()
    return split.images[:, 0, 0, 0].tolist()


# Tables -----------------------------------------------------------------------------------------------------------


def test_a_folder_with_two_parquet_files_is_read_in_their_order(parquet_folder: Path) -> None:
    data = hub_data(parquet_folder)
    assert (numbers(data.train), data.train.labels.tolist()) == ([0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1])
    assert (numbers(data.test), data.test.labels.tolist()) == ([0, 1], [1, 0])
    alone = hub_data(parquet_folder / "train.parquet")
    assert numbers(alone.train) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(FileNotFoundError, match=r"no test split.*train.parquet and test.parquet"):
        _ = alone.test


def test_numbered_parquet_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    for part, row in enumerate((7, 8)):
        write_parquet(tmp_path / f"train-0000{part}-of-00002.parquet", [part], [encoded(picture(row))])
    data = hub_data(tmp_path)
    assert (numbers(data.train), data.train.labels.tolist()) == ([7, 8], [0, 1])


def test_a_single_saved_split_is_that_of_the_training_images_and_caches_do_not_count(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"img": [picture(4), picture(5)], "label": [0, 1]})
    table.cast_column("img", datasets.Image()).save_to_disk(tmp_path)
    data = hub_data(tmp_path)
    assert (numbers(data.train), data.train.labels.tolist()) == ([4, 5], [0, 1])
    with pytest.raises(FileNotFoundError, match="no test split"):
        _ = data.test
    fingerprint = data.fingerprint()
    (tmp_path / "cache-0123.arrow").write_text("the result of some map() of datasets")
    assert hub_data(tmp_path).fingerprint() == fingerprint


def test_a_set_of_the_hub_is_read_by_repository_configuration_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(repository: str, *, name: str, revision: str, split: str) -> datasets.Dataset:
        asked.append((repository, name, revision, split))
        table = datasets.Dataset.from_dict({"x": [picture(1), picture(2), picture(3)], "y": [0, 1, 1]})
        return table.cast_column("x", datasets.Image()).select([2, 0])  # rows by way of an index

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = image_data(HubImages("someone/set", "x", "y", "small", "abc"), classes=2, class_names=["a", "b"])
    assert (numbers(data.train), data.train.labels.tolist()) == ([3, 1], [1, 0])
    assert set(asked) == {("someone/set", "small", "abc", "train")}
    of_hub = (("a/b",), ("a/c",), ("a/b", "x"), ("a/b", None, "x"), ("a/b", None, None, "x"), ("a/b", *[None] * 3, "x"))
    assert len({HubImages(*options).fingerprint() for options in of_hub}) == len(of_hub)


def test_a_set_that_is_neither_cached_nor_to_be_had_says_which_files_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(FileNotFoundError, match="someone/set is not cached") as caught:
        _ = hub_data(None).train
    where = "https://huggingface.co/datasets/someone/set"
    for part in (where, "data.path=FOLDER", "train.parquet", "test.parquet", "columns img", "label"):
        assert part in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_images_get_three_equal_channels(tmp_path: Path, mode: str) -> None:
    write_parquet(tmp_path / "train.parquet", [0], [encoded(Image.new("L", (4, 4), 255).convert(mode))])
    assert (hub_data(tmp_path).train.images == 255).all()


PLAIN, TALL = encoded(picture(0, 64)), encoded(Image.new("RGB", (64, 65)))


@pytest.mark.parametrize(
    ("labels", "last", "told"),
    [
        ([0, 1], encoded(Image.new("I;16", (64, 64), 40_000)), "Expected 8 bits per channel, but row 1 of"),
        ([0, 1], b"", r"row 1 of .*train\.parquet is not an image that can be read \(its format is not known\)"),
        ([0, 1], b"no image at all", r"row 1 of .*train\.parquet is not an image that can be read"),
        ([0, 1], PLAIN[:120], r"row 1 of .*train\.parquet is an image that cannot be decoded"),
        ([0, 1], TALL, r"64 x 64 pixels, but row 1 of .* is 65 pixels high and 64 wide"),
        ([0, None, None], PLAIN, r"Row 1 of .* has no label in the column 'label'; 2 rows have none"),
        ([0, 2], PLAIN, r"labels from 0 to 1, .* row 1 of .*train\.parquet has the label 2; 1 labels are outside"),
        ([0, -1], PLAIN, r"row 1 of .* has the label -1"),
        ([], PLAIN, r"train\.parquet is empty"),
    ],
)
def test_a_row_that_cannot_be_is_named(tmp_path: Path, labels: list[int | None], last: bytes, told: str) -> None:
    write_parquet(tmp_path / "train.parquet", labels, [*[PLAIN] * (len(labels) - 1), last][: len(labels)])
    with pytest.raises(ValueError, match=told):
        _ = hub_data(tmp_path, image_size=64).train


def test_a_path_without_data_says_what_is_expected_and_what_is_there(parquet_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    (parquet_folder / "test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"nowhere, which does not exist\. Expected a folder with"):
        _ = hub_data(tmp_path / "nowhere").train
    with pytest.raises(ValueError, match=r"it holds cat\.png, set\. Expected a folder with train\.parquet"):
        _ = hub_data(tmp_path).train
    with pytest.raises(FileNotFoundError, match=r"no test split of the name test or testing: it holds train\.parquet"):
        _ = hub_data(parquet_folder).test


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (("img", "fine"), r"a column 'fine' in .* found img, label.*data\.source\.label_column="),
        (("img", "img"), "Expected the classes as whole numbers in the column 'img' .* Number the classes from 0"),
        (("label", "label"), "Expected images in the column 'label' of .*, found int64"),
    ],
)
def test_columns_that_are_missing_or_of_the_wrong_kind_are_refused(
    columns: tuple[str, str], told: str, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1])
    with pytest.raises(ValueError, match=told):
        _ = image_data(HubImages("someone/set", *columns), path=tmp_path).train


def test_classes_without_names_are_counted_from_0_and_a_gap_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2, 1])
    data = hub_data(tmp_path, classes=None, image_size=None)
    assert (data.classes, data.class_names, data.image_size) == (3, ("0", "1", "2"), 4)
    write_parquet(tmp_path / "train.parquet", [0, 5, 2, 5])
    with pytest.raises(ValueError, match=r"without a gap .* have the labels 0, 2, 5\. Number .* or set data\.classes"):
        _ = hub_data(tmp_path, classes=None).classes


# Folders of images ------------------------------------------------------------------------------------------------


def test_classes_are_the_folders_in_the_order_of_their_names_with_all_images_below(class_folders: Path) -> None:
    (class_folders / "train" / ".hidden").mkdir()
    write_image(class_folders / "train" / "ant" / "red" / "small" / "7.png", picture(7))
    write_image(class_folders / "train" / "ant" / "A.PNG", picture(8))
    data = folder_data(class_folders)
    assert (data.classes, data.image_size, data.notes) == (2, 4, [])
    assert (numbers(data.train), data.train.labels.tolist()) == ([10, 11, 8, 7, 20, 21], [0, 0, 0, 0, 1, 1])
    assert (numbers(data.test), data.test.labels.tolist()) == ([10, 20], [0, 1])
    copy = hub_data(class_folders)
    assert (numbers(copy.train), copy.train.labels.tolist()) == (numbers(data.train), data.train.labels.tolist())
    fingerprints = {data.fingerprint()}
    write_image(class_folders / "train" / "ant" / "red" / "small" / "7.png", picture(9))
    fingerprints.add(folder_data(class_folders).fingerprint())
    (class_folders / "train" / "ant" / "0.png").rename(class_folders / "train" / "bee" / "9.png")
    assert len(fingerprints | {folder_data(class_folders).fingerprint()}) == 3


def test_every_ending_of_images_is_read_in_capitals_too(tmp_path: Path) -> None:
    for ending in sorted(IMAGE_SUFFIXES):
        for name in (f"a{ending}", f"b{ending.upper()}"):
            file = tmp_path / "train" / ending[1:] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                picture(0).save(stream, Image.registered_extensions().get(ending, "PNG"))
    assert folder_data(tmp_path).train.labels.bincount().tolist() == [2] * len(IMAGE_SUFFIXES)


def test_files_that_are_not_read_are_told_of_once_and_hidden_ones_are_not(class_folders: Path) -> None:
    ant = class_folders / "train" / "ant"
    (ant / "red").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "red/._0.png"):
        (ant / name).write_text("what a system left")
    (ant / ".ipynb_checkpoints").mkdir()
    write_image(ant / ".ipynb_checkpoints" / "0-checkpoint.png", picture(5))
    data = folder_data(class_folders)
    assert (len(data.train), data.notes) == (4, [])
    for name in ("ant/notes.txt", "ant/red/photo.heic", "ant/red/other.HEIC", "stray.png"):
        (class_folders / "train" / name).write_text("no one reads this")
    (ant / "more").symlink_to(class_folders / "test" / "ant", target_is_directory=True)
    data = folder_data(class_folders)
    assert len(data.train) == 4
    (note,) = data.notes
    assert note.startswith(f"5 files in {class_folders / 'train'} are not read, 1 of them in no folder of a class (")
    assert ".heic: 2" in note and ".txt: 1" in note and "a link to a folder: 1" in note
    assert f"the first {ant / 'more'}; images end in .apng, .bmp" in note


def test_a_folder_that_cannot_be_listed_is_an_error(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = class_folders / "train" / "ant" / "closed"
    closed.mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the tests may run as root, who may read all
    with pytest.raises(PermissionError, match="closed"):
        _ = folder_data(class_folders).train


def test_folders_of_splits_may_have_other_names(class_folders: Path) -> None:
    (class_folders / "train").rename(class_folders / "training")
    (class_folders / "test").rename(class_folders / "val")
    data = folder_data(class_folders)
    assert len(data.train) == 4
    with pytest.raises(FileNotFoundError, match=r"no test split.*data\.source\.test_split=\.\.\. \(training, val\)"):
        _ = data.test
    named = image_data(ImageFolder(test_split="val"), path=class_folders)
    assert numbers(named.test) == [10, 20]
    assert named.fingerprint() != data.fingerprint()


def test_images_of_different_sizes_or_that_are_not_square_need_a_size(class_folders: Path) -> None:
    write_image(class_folders / "train" / "bee" / "large.png", picture(0, size=8))
    with pytest.raises(ValueError, match=r"bee.large\.png is 8 pixels high and 8 wide\. Set data\.image_size"):
        _ = folder_data(class_folders).train
    assert folder_data(class_folders, image_size=4).train.images.shape == (5, 3, 4, 4)
    write_image(class_folders / "train" / "ant" / "0.png", Image.new("RGB", (6, 4)))
    with pytest.raises(ValueError, match=r"0\.png is 4 pixels high and 6 wide\. Set data\.image_size"):
        _ = folder_data(class_folders).image_size


def test_an_image_is_scaled_and_cropped_around_its_centre(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 8))
    image.paste((90, 90, 90), (4, 0, 12, 8))  # the square in the middle is grey, left and right of it all is black
    write_image(tmp_path / "train" / "only" / "wide.png", image)
    pixels = folder_data(tmp_path, image_size=4).train.images
    assert (pixels[..., 1:3] == 90).all()
    assert (pixels > 60).all()  # a little black is mixed in at the edges


@pytest.mark.parametrize(
    ("split", "file", "content", "told"),
    [
        ("train", "train/bee/torn.png", b"torn", r"train.bee.torn\.png is not an image that can be read"),
        ("test", "test/wasp/0.png", b"", r"classes that .*train does not have: wasp"),
        ("train", "train/wasp/notes.txt", b"", "wasp has no images"),
    ],
)
def test_what_folders_cannot_hold_is_named(
    class_folders: Path, split: str, file: str, content: bytes, told: str
) -> None:
    (class_folders / file).parent.mkdir(exist_ok=True)
    (class_folders / file).write_bytes(content)
    with pytest.raises(ValueError, match=told):
        getattr(folder_data(class_folders), split)


def test_an_image_folder_without_what_it_needs_or_with_other_classes_is_refused(tmp_path: Path) -> None:
    def refused(told: str, split: str, path: Path | None = tmp_path, **options: object) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=told):
            getattr(folder_data(path, **options), split)

    refused(r"need their path: data.path=FOLDER", "train", None)
    refused("no train split of the name train or training: it holds nothing", "train")
    (tmp_path / "images.zip").touch()
    refused(
        r"images\.zip, .*it holds no folders, for it is a file\. Expected folders of images train/CLASS/IMAGE\.png",
        "train",
        tmp_path / "images.zip",
    )
    (tmp_path / "images.zip").unlink()
    (tmp_path / "train").mkdir()
    refused("Expected one folder of images per class", "train")
    (tmp_path / "test").mkdir()
    write_image(tmp_path / "train" / "only" / "0.png", picture(0))
    refused("test has no images", "test")
    (tmp_path / "test").rmdir()
    refused(r"no test split .* it holds train\. Expected .* test/CLASS/IMAGE.png", "test")
    refused(r"Expected 3 classes, .* but the data have 1", "train", classes=3)


# Real data --------------------------------------------------------------------------------------------------------


def test_cifar10_has_its_known_statistics() -> None:
    folder = Path(os.environ.get("DATA_ROOT", Path(__file__).parents[3] / "shared" / "data")) / "cifar10"
    if not folder.is_dir():
        pytest.skip(f"needs CIFAR-10 as parquet files in {folder}; set DATA_ROOT to the folder that holds cifar10/")
    data = hub_data(folder, classes=10, image_size=32, train_subset=2000, mean=None, std=None)
    assert data.train.labels.bincount().tolist() == [200] * 10
    assert data.normalisation.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)
    assert data.normalisation.std == pytest.approx([0.2470, 0.2435, 0.2616], abs=0.01)
