import hashlib
import warnings
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.data.small_sets import encoded, folder_data, hub_data, image_data, picture, write_image, write_parquet

from archselect.data import Digits, HubImages, ImageData

NUMBERS = ("classes", "image_size", "train_subset")


def test_a_split_is_opened_when_it_is_asked_for_and_once(parquet_folder: Path, tmp_path: Path) -> None:
    (parquet_folder / "test.parquet").write_bytes(b"this would be an error")
    data = hub_data(parquet_folder)
    first = data.train
    with pytest.raises(ValueError, match="cannot be read as a parquet file"):
        _ = data.test
    (parquet_folder / "train.parquet").unlink()
    assert data.train is first and len(first) == 6
    nowhere = hub_data(tmp_path / "absent", mean=[0.1, 0.2, 0.3])
    assert (nowhere.name, nowhere.classes, nowhere.image_size) == ("set", 2, 4)
    assert nowhere.normalisation.mean == (0.1, 0.2, 0.3)


def test_a_subset_keeps_the_share_of_every_class_and_is_always_the_same(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0] * 20 + [1] * 10)
    subsets = [hub_data(tmp_path, train_subset=6).train for _ in range(2)]
    assert subsets[0].labels.bincount().tolist() == [4, 2]
    assert torch.equal(subsets[0].images, subsets[1].images)
    numbers = subsets[0].images[:, 0, 0, 0].tolist()
    assert len(set(numbers)) == 6
    assert [int(number >= 20) for number in numbers] == subsets[0].labels.tolist()


def test_only_the_subset_is_decoded_and_the_test_split_stays_whole(parquet_folder: Path) -> None:
    kept = hub_data(parquet_folder, train_subset=2).train.images[:, 0, 0, 0].tolist()
    images = [encoded(picture(row)) if row in kept else b"broken" for row in range(6)]
    write_parquet(parquet_folder / "train.parquet", [0, 1, 0, 1, 0, 1], images)
    write_parquet(parquet_folder / "test.parquet", [0, 1, 0, 1])
    data = hub_data(parquet_folder, train_subset=2)
    assert data.train.images[:, 0, 0, 0].tolist() == kept
    assert len(data.test) == 4


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("train_subset", 7, "subset of 7 .* from 6"),
        ("train_subset", 1, "cannot hold all 2 classes"),
        *((option, 0, rf"data\.{option} must be a whole number above 0; got 0\.") for option in NUMBERS),
    ],
)
def test_an_impossible_number_is_refused(parquet_folder: Path, option: str, value: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _ = hub_data(parquet_folder, **{option: value}).train


def test_the_augmentation_is_that_of_the_data_and_takes_a_cutout(parquet_folder: Path) -> None:
    augmentation = hub_data(parquet_folder, pad=3, flip=False).augmentation(cutout=2)
    assert (augmentation.pad, augmentation.flip, augmentation.cutout) == (3, False, 2)
    assert hub_data(parquet_folder).augmentation().cutout == 0
    with pytest.raises(ValueError, match="cutout of 5 pixels is larger than the images, 4 x 4"):
        hub_data(parquet_folder).augmentation(cutout=5)


def test_the_fingerprint_is_that_of_the_content_wherever_it_lies(parquet_folder: Path, tmp_path: Path) -> None:
    fingerprint = hub_data(parquet_folder).fingerprint()
    moved = parquet_folder.rename(tmp_path / "moved")
    assert hub_data(moved).fingerprint() == fingerprint
    (moved / "README.md").write_text("not data")
    assert hub_data(moved, mean=[0.5, 0.5, 0.5], pad=1).fingerprint() == fingerprint


def test_the_fingerprint_changes_with_content_subset_and_columns(parquet_folder: Path) -> None:
    fine = HubImages("someone/set", "img", "fine_label", path=parquet_folder)
    fingerprints = {
        hub_data(parquet_folder).fingerprint(),
        hub_data(parquet_folder, train_subset=4).fingerprint(),
        image_data(fine).fingerprint(),
    }
    file = parquet_folder / "train.parquet"
    content = bytearray(file.read_bytes())
    content[50] ^= 1  # the size stays the same
    file.write_bytes(content)
    fingerprints.add(hub_data(parquet_folder).fingerprint())
    assert len(fingerprints) == 4
    assert all(len(fingerprint) == hashlib.sha256().digest_size * 2 for fingerprint in fingerprints)


def test_fingerprints_stay_what_they_were_since_stages_are_found_by_them(tmp_path: Path) -> None:
    (tmp_path / "train" / "ant").mkdir(parents=True)
    (tmp_path / "train" / "ant" / "0.png").write_bytes(b"not decoded")
    sets = (hub_data(None), folder_data(tmp_path), hub_data(tmp_path), digits())
    known = ["ad286d6b4cf7", "a6c24fd21f51", "fe764ff3a0f3", "737db9ef9336"]
    assert [data.fingerprint()[:12] for data in sets] == known


def test_above_the_limit_names_and_sizes_make_the_fingerprint(
    parquet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archselect.data.sources.CONTENT_LIMIT", 10)
    fingerprint = hub_data(parquet_folder).fingerprint()
    file = parquet_folder / "train.parquet"
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    assert hub_data(parquet_folder).fingerprint() == fingerprint
    file.write_bytes(bytes(size + 1))
    assert hub_data(parquet_folder).fingerprint() != fingerprint


def test_progress_goes_to_the_console_when_there_is_much_to_decode(
    parquet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for worth, notebook in ((7, False), (6, False), (6, True)):
        monkeypatch.setattr("archselect.data.stream.WORTH_A_PROGRESS_BAR", worth)
        console = Console(record=True, force_terminal=True)
        console.is_jupyter = notebook  # where a bar warns that it needs ipywidgets
        with warnings.catch_warnings(action="error", category=UserWarning):
            _ = hub_data(parquet_folder, console=console).train
        shown.append("Decoding set, train" in console.export_text())
    assert shown == [False, True, False]


def digits(**options: object) -> ImageData:
    return image_data(Digits(), **options)


def test_the_digits_are_split_into_a_fixed_stratified_fifth_and_the_rest_and_scaled_to_a_byte() -> None:
    from sklearn.datasets import load_digits

    data, original = digits(), load_digits().images
    assert (data.classes, data.image_size) == (10, 8)
    assert (data.train.images.shape, data.test.images.shape) == ((1438, 3, 8, 8), (359, 3, 8, 8))
    counts = data.train.labels.bincount() + data.test.labels.bincount()
    assert ((data.train.labels.bincount() - 0.8 * counts).abs() < 1).all()
    assert hashlib.sha256(data.test.labels.numpy().tobytes()).hexdigest()[:8] == "2bd25e6a"
    images = torch.cat([data.train.images, data.test.images])
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2])
    assert sorted(images[:, 0].flatten(1).tolist()) == sorted((original * 255 / 16).round().reshape(-1, 64).tolist())
    assert images.max() == 255


def test_the_digits_are_not_read_from_a_path_and_count_by_content_and_subset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not read from a path"):
        digits(path=tmp_path)
    assert digits().fingerprint() == digits().fingerprint() != digits(train_subset=100).fingerprint()


def test_a_resized_image_folder_has_another_fingerprint(class_folders: Path) -> None:
    write_image(class_folders / "train" / "ant" / "wide.png", picture(3, size=9))
    plain, small = (folder_data(class_folders, image_size=size) for size in (4, 2))
    assert plain.fingerprint() != small.fingerprint()
