"""The files of the downsampled ImageNet as their authors publish them, written small here."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.small_sets import image_data

from archselect.data import DownsampledImageNet, ImageData

SIZE = 4


def batch(labels: list[int], first: int = 0) -> dict[str, Any]:
    """Images that tell which one they are: all values of channel c of image i are 40 * c + i."""
    numbers = np.arange(len(labels))[:, None, None] + first
    data = (numbers + 40 * np.arange(3)[None, :, None]).repeat(SIZE * SIZE, axis=2)
    return {"data": data.reshape(len(labels), -1).astype(np.uint8), "labels": labels, "mean": data.mean()}


@pytest.fixture(params=[np.savez, np.savez_compressed])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    for number, labels in ((1, [1, 2, 3]), (2, [3, 2]), (10, [1, 3])):
        request.param(tmp_path / f"train_data_batch_{number}.npz", **batch(labels, first=10 * number))
    request.param(tmp_path / "val_data.npz", **batch([2, 3, 1, 1000]))
    return tmp_path


def read(path: Path, first_classes: int | None = None, **options: object) -> ImageData:
    return image_data(DownsampledImageNet(first_classes=first_classes), path=path, **options)


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_images_labels_and_order_are_those_of_the_files(folder: Path, storage: str) -> None:
    data = read(folder, storage=storage, mean=None)
    train = data.train if storage == "memory" else data.train.in_memory()  # type: ignore[union-attr]
    assert (data.classes, data.image_size, data.channels) == (1000, SIZE, 3)
    assert train.labels.tolist() == [0, 1, 2, 2, 1, 0, 2]
    expected = torch.tensor([10, 11, 12, 20, 21, 100, 101])[:, None] + 40 * torch.arange(3)
    assert torch.equal(train.images, expected.to(torch.uint8)[:, :, None, None].expand(-1, -1, SIZE, SIZE))
    assert data.test_labels.tolist() == [1, 2, 0, 999]


def test_the_first_classes_are_a_data_set_of_their_own(folder: Path) -> None:
    data = read(folder, first_classes=2, storage="memory")
    assert data.train.images[:, 0, 0, 0].tolist() == [10, 11, 21, 100]  # type: ignore[union-attr]
    assert (data.classes, data.train.labels.tolist(), data.test_labels.tolist()) == (2, [0, 1, 1, 0], [1, 0])
    assert data.fingerprint() != read(folder).fingerprint()


def test_pickles_are_refused_with_what_converts_them(tmp_path: Path) -> None:
    file = tmp_path / "train_data_batch_1"
    file.write_bytes(pickle.dumps(batch([1])))
    with pytest.raises(ValueError, match=r"is a pickle, which can run any program.*numpy\.savez\(f \+ '\.npz'"):
        _ = read(tmp_path).train


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"data": np.zeros((2, 48), np.uint8)}, r"cannot be read as a file \.npz with data and labels .*labels\.npy"),
        ({"data": np.zeros((2, 47), np.uint8), "labels": [1, 1]}, r"Expected data of the shape \(N, 3 \* size"),
        ({"data": np.zeros((2, 48)), "labels": [1, 1]}, r"in uint8 .* got float64"),
        ({"data": np.zeros((2, 48), np.uint8), "labels": [0, 1]}, r"Expected labels from 1 to 1000 in .*, got 0"),
        ({"data": np.zeros((2, 48), np.uint8), "labels": [1]}, r"Expected 2 labels"),
        ({"data": np.array([{}, {}]), "labels": [1, 1]}, r"holds no plain numbers"),
        ({"data": np.uint8(3), "labels": [1, 1]}, r"got uint8 of the shape \(\)"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path: Path, content: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "train_data_batch_1.npz", **content)
    with pytest.raises(ValueError, match=told):
        _ = read(tmp_path, classes=1000, image_size=4, channels=3).train


def test_a_file_that_is_cut_is_named(folder: Path) -> None:
    file = folder / "train_data_batch_2.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"train_data_batch_2\.npz cannot be read as a file \.npz"):
        _ = read(folder).train


# Offsets in the first local header and in its central one: the flags, of which bit 0 says encrypted, and the method.
@pytest.mark.parametrize(("local", "central", "value"), [(6, 8, 1), (8, 10, 97)])
def test_an_archive_that_is_encrypted_or_of_another_compression_is_named(
    tmp_path: Path, local: int, central: int, value: int
) -> None:
    file = tmp_path / "train_data_batch_1.npz"
    np.savez(file, **batch([1, 2]))
    content = bytearray(file.read_bytes())
    content[local] = content[content.index(b"PK\x01\x02") + central] = value
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"train_data_batch_1\.npz cannot be read as a file \.npz"):
        _ = read(tmp_path).train


def test_a_compressed_file_that_is_damaged_anywhere_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train_data_batch_1.npz"
    np.savez_compressed(file, **batch([1, 2, 3]))
    content = file.read_bytes()
    source, refused = DownsampledImageNet(path=tmp_path), 0
    for place in range(0, len(content), 5):
        file.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            source.open("train")
        except ValueError as error:
            refused += str(file) in str(error)
    assert refused > len(content) // 15  # some bytes, such as a date, mean nothing


def test_more_first_classes_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match=r"first_classes must be at most 1000, .*; got 1001"):
        DownsampledImageNet(first_classes=1001)
