import os
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from tests.data.small_sets import encoded, hub_data, picture, write_image, write_parquet

from archselect.data import HubImages, ImageData, ImageFolder, ImageTensors
from archselect.data.local_files import IMAGE_SUFFIXES


def own_data(path: Path | None, **options: object) -> ImageData:
    return ImageData("own", ImageFolder(), [0] * 3, [1] * 3, path=path, **options)  # type: ignore[arg-type]


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


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})

    def split(*rows: int) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"img": [picture(r) for r in rows], "label": [r % 2 for r in rows]}, features)

    datasets.DatasetDict(train=split(4, 5, 6), test=split(9)).save_to_disk(tmp_path / "both")
    split(4, 5, 6).save_to_disk(tmp_path / "one")
    data = hub_data(tmp_path / "both")
    assert (numbers(data.train), data.train.labels.tolist(), numbers(data.test)) == ([4, 5, 6], [0, 1, 0], [9])
    alone = hub_data(tmp_path / "one")
    assert numbers(alone.train) == [4, 5, 6]
    with pytest.raises(FileNotFoundError, match="no test split"):
        _ = alone.test
    fingerprint = alone.fingerprint()
    (tmp_path / "one" / "cache-0123.arrow").write_text("the result of some map() of datasets")
    assert hub_data(tmp_path / "one").fingerprint() == fingerprint != data.fingerprint()


def test_a_set_of_the_hub_is_read_by_repository_configuration_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(repository: str, *, name: str, revision: str, split: str) -> datasets.Dataset:
        asked.append((repository, name, revision, split))
        table = datasets.Dataset.from_dict({"x": [picture(1), picture(2), picture(3)], "y": [0, 1, 1]})
        return table.cast_column("x", datasets.Image()).select([2, 0])  # rows by way of an index

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = HubImages("someone/set", "x", "y", configuration="small", revision="abc")
    data = ImageData("set", source, [0] * 3, [1] * 3, 2, 4, class_names=["a", "b"])
    assert (numbers(data.train), data.train.labels.tolist()) == ([3, 1], [1, 0])
    assert asked == [("someone/set", "small", "abc", "train")]


def test_hub_fingerprints_tell_repository_configuration_and_revision_apart() -> None:
    sources = [
        HubImages("a/b", "x", "y"),
        HubImages("a/c", "x", "y"),
        HubImages("a/b", "x", "y", configuration="c"),
        HubImages("a/b", "x", "y", revision="c"),
    ]
    assert len({source.fingerprint() for source in sources}) == 4
    assert HubImages("a/b", "x", "y").fingerprint() == HubImages("a/b", "x", "y").fingerprint()


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
    image = Image.new("L", (4, 4), 255).convert(mode)
    write_parquet(tmp_path / "train.parquet", [0], [encoded(image)])
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
    with pytest.raises(FileNotFoundError, match=r"no test split: expected test\.parquet, found train\.parquet"):
        _ = hub_data(parquet_folder).test


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1], label_column="fine_label")
    with pytest.raises(ValueError, match=r"a column 'label' in .* found img, fine_label.*data\.source\.label_column="):
        _ = hub_data(tmp_path).train


def test_columns_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1])
    for columns, message in (
        (("img", "img"), "Expected whole numbers in the column 'img'"),
        (("label", "label"), "Expected encoded images in the column 'label'"),
    ):
        data = ImageData("set", HubImages("someone/set", *columns), [0] * 3, [1] * 3, 2, 4, path=tmp_path)
        with pytest.raises(ValueError, match=message):
            _ = data.train


def test_classes_without_names_are_counted_from_0_and_a_gap_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2, 1])
    data = hub_data(tmp_path, classes=None, image_size=None)
    assert (data.classes, data.class_names, data.image_size) == (3, ("0", "1", "2"), 4)
    write_parquet(tmp_path / "train.parquet", [0, 5, 2, 5])
    with pytest.raises(ValueError, match=r"without a gap .* have the labels 0, 2, 5\. Number .* or set data\.classes"):
        _ = hub_data(tmp_path, classes=None).classes


# Folders of images ------------------------------------------------------------------------------------------------


def test_classes_are_the_folders_in_the_order_of_their_names(class_folders: Path) -> None:
    (class_folders / "train" / ".hidden").mkdir()
    data = own_data(class_folders)
    assert (data.classes, data.image_size) == (2, 4)
    assert (numbers(data.train), data.train.labels.tolist()) == ([10, 11, 20, 21], [0, 0, 1, 1])
    assert (numbers(data.test), data.test.labels.tolist()) == ([10, 20], [0, 1])


def test_a_hub_set_is_also_read_from_folders_of_images(class_folders: Path) -> None:
    data = hub_data(class_folders)
    assert (numbers(data.train), data.train.labels.tolist()) == ([10, 11, 20, 21], [0, 0, 1, 1])


def test_images_in_folders_below_a_class_count_to_it(class_folders: Path) -> None:
    write_image(class_folders / "train" / "ant" / "red" / "small" / "7.png", picture(7))
    write_image(class_folders / "train" / "ant" / "A.PNG", picture(8))
    data = own_data(class_folders)
    assert (numbers(data.train), data.train.labels.tolist()) == ([10, 11, 8, 7, 20, 21], [0, 0, 0, 0, 1, 1])
    assert data.notes == []
    fingerprint = data.fingerprint()
    write_image(class_folders / "train" / "ant" / "red" / "small" / "7.png", picture(9))
    assert own_data(class_folders).fingerprint() != fingerprint


def test_every_ending_of_images_is_read_in_capitals_too(tmp_path: Path) -> None:
    for ending in sorted(IMAGE_SUFFIXES):
        for name in (f"a{ending}", f"b{ending.upper()}"):
            file = tmp_path / "train" / ending[1:] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                picture(0).save(stream, Image.registered_extensions().get(ending, "PNG"))
    assert own_data(tmp_path).train.labels.bincount().tolist() == [2] * len(IMAGE_SUFFIXES)


def test_files_that_are_not_read_are_told_of_once_and_hidden_ones_are_not(class_folders: Path) -> None:
    ant = class_folders / "train" / "ant"
    (ant / "red").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "red/._0.png"):
        (ant / name).write_text("what a system left")
    (ant / ".ipynb_checkpoints").mkdir()
    write_image(ant / ".ipynb_checkpoints" / "0-checkpoint.png", picture(5))
    data = own_data(class_folders)
    assert (len(data.train), data.notes) == (4, [])
    for name in ("ant/notes.txt", "ant/red/photo.heic", "ant/red/other.HEIC", "stray.png"):
        (class_folders / "train" / name).write_text("no one reads this")
    (ant / "more").symlink_to(class_folders / "test" / "ant", target_is_directory=True)
    data = own_data(class_folders)
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
        _ = own_data(class_folders).train


def test_folders_of_splits_may_have_other_names(class_folders: Path) -> None:
    (class_folders / "train").rename(class_folders / "training")
    (class_folders / "test").rename(class_folders / "val")
    data = own_data(class_folders)
    assert len(data.train) == 4
    with pytest.raises(FileNotFoundError, match=r"no test split.*data\.source\.test_split=\.\.\. \(training, val\)"):
        _ = data.test
    named = ImageData("own", ImageFolder(test_split="val"), path=class_folders)
    assert numbers(named.test) == [10, 20]
    assert named.fingerprint() != data.fingerprint()


def test_images_of_different_sizes_or_that_are_not_square_need_a_size(class_folders: Path) -> None:
    write_image(class_folders / "train" / "bee" / "large.png", picture(0, size=8))
    with pytest.raises(ValueError, match=r"bee.large\.png is 8 pixels high and 8 wide\. Set data\.image_size"):
        _ = own_data(class_folders).train
    assert own_data(class_folders, image_size=4).train.images.shape == (5, 3, 4, 4)
    write_image(class_folders / "train" / "ant" / "0.png", Image.new("RGB", (6, 4)))
    with pytest.raises(ValueError, match=r"0\.png is 4 pixels high and 6 wide\. Set data\.image_size"):
        _ = own_data(class_folders).image_size


def test_an_image_is_scaled_and_cropped_around_its_centre(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 8))
    image.paste((90, 90, 90), (4, 0, 12, 8))  # the square in the middle is grey, left and right of it all is black
    write_image(tmp_path / "train" / "only" / "wide.png", image)
    pixels = own_data(tmp_path, image_size=4).train.images
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
        getattr(own_data(class_folders), split)


def test_other_numbers_of_classes_than_configured_are_refused(class_folders: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected 3 classes, .* but the data have 2"):
        _ = own_data(class_folders, classes=3).train


def test_an_image_folder_without_what_it_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"An image folder needs its path: data.path=FOLDER"):
        _ = own_data(None).classes
    with pytest.raises(FileNotFoundError, match="train is not a folder"):
        _ = own_data(tmp_path).classes
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="Expected one folder of images per class"):
        _ = own_data(tmp_path).classes
    write_image(tmp_path / "train" / "only" / "0.png", picture(0))
    with pytest.raises(FileNotFoundError, match=r"no test split: expected test/CLASS/IMAGE.png, found train"):
        _ = own_data(tmp_path).test
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="test has no images"):
        _ = own_data(tmp_path).test


def test_the_fingerprint_of_a_folder_changes_when_an_image_moves_to_another_class(class_folders: Path) -> None:
    fingerprint = own_data(class_folders).fingerprint()
    assert own_data(class_folders).fingerprint() == fingerprint
    (class_folders / "train" / "ant" / "0.png").rename(class_folders / "train" / "bee" / "9.png")
    assert own_data(class_folders).fingerprint() != fingerprint


# Real data --------------------------------------------------------------------------------------------------------


def test_cifar10_has_its_known_statistics() -> None:
    folder = Path(os.environ.get("DATA_ROOT", Path(__file__).parents[3] / "shared" / "data")) / "cifar10"
    if not folder.is_dir():
        pytest.skip(f"needs CIFAR-10 as parquet files in {folder}; set DATA_ROOT to the folder that holds cifar10/")
    data = hub_data(folder, classes=10, image_size=32, train_subset=2000, mean=None, std=None)
    assert data.train.labels.bincount().tolist() == [200] * 10
    assert data.normalisation.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)
    assert data.normalisation.std == pytest.approx([0.2470, 0.2435, 0.2616], abs=0.01)
