"""Tar files as WebDataset lays them out."""

import io
import os
import tarfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tests.data.small_sets import encoded, image_data, picture

from archselect.data import ImageData, StreamedImages, TarShards
from archselect.data import shards as module


def write_shard(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def members(numbers: range) -> dict[str, bytes]:
    """Images that tell which they are, and their classes, 0 and 1 in turn, some in front and some behind."""
    found: dict[str, bytes] = {"readme.txt": b"of no interest"}
    for number in numbers:
        pair = {f"some/a{number}.png": encoded(picture(number)), f"some/a{number}.cls": b"%d\n" % (number % 2)}
        found |= dict(reversed(pair.items())) if number % 3 else pair
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shard(tmp_path / "train-0000.tar", members(range(5)))
    write_shard(tmp_path / "train-0001.tar", members(range(5, 9)))
    write_shard(tmp_path / "test-0000.tar", members(range(9, 11)))
    return tmp_path


def read(path: Path, **options: object) -> ImageData:
    return image_data(TarShards(), path=path, storage="stream", **options)


def test_images_and_classes_are_those_of_all_shards_in_their_order(folder: Path) -> None:
    data = read(folder)
    assert isinstance(data.train, StreamedImages) and isinstance(data.test, StreamedImages)
    assert data.train.in_memory().images[:, 0, 0, 0].tolist() == list(range(9))
    assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert data.test.in_memory().images[:, 0, 0, 0].tolist() == [9, 10]
    assert data.train.encoded.name(6) == f"some/a6.png of {folder / 'train-0001.tar'}"


def test_the_index_is_made_once_and_anew_for_other_shards(folder: Path) -> None:
    with mock.patch.object(module, "_images_of", side_effect=module._images_of) as indexed:
        first, again = read(folder).train, read(folder).train
        assert indexed.call_count == 2 and torch.equal(first.labels, again.labels)
        write_shard(folder / "train-0001.tar", members(range(20, 22)))
        assert isinstance(changed := read(folder).train, StreamedImages)
        assert changed.in_memory().images[5:, 0, 0, 0].tolist() == [20, 21]
        assert indexed.call_count == 4
        np.savez(folder / ".archselect-index-train.npz", stamp="of other shards")
        assert len(read(folder).train) == 7 and indexed.call_count == 6


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "of other lengths"])
def test_a_damaged_index_is_made_anew(folder: Path, damage: str) -> None:
    first = read(folder).train
    place = folder / ".archselect-index-train.npz"
    content = place.read_bytes()
    if damage == "of other lengths":
        kept = dict(np.load(place))
        np.savez(place, **kept | {"label": kept["label"][:3]})
    else:
        flipped = content[:100] + bytes([content[100] ^ 255]) + content[101:]
        place.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "flipped": flipped}[damage])
    again = read(folder).train
    assert again.labels.dtype == torch.int64 and torch.equal(first.labels, again.labels)
    assert place.read_bytes() == content


def test_a_folder_that_cannot_be_written_needs_no_index(folder: Path) -> None:
    with mock.patch.object(module, "atomic_write", side_effect=PermissionError):
        assert len(read(folder).train) == 9
    assert not list(folder.glob(".archselect*"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a.png": b"x"}, r"a\.png of .*train-0000\.tar has no class\. Expected a file a\.cls"),
        ({"a.png": b"x", "a.cls": b"bee"}, r"Expected a whole number from 0 on in a\.cls of .*, got 'bee'"),
        ({"a.png": b"x", "a.cls": b"9" * 20}, r"a whole number from 0 on in a\.cls of .*, below 2 \*\* 63, got '9999"),
        ({"a.png": b"x", "a.cls": b"9223372036854775808"}, r"below 2 \*\* 63, got '9223372036854775808'"),
        ({"a.png": b"x", "a.jpg": b"x", "a.cls": b"0"}, r"one image per key, but .* has a\.png and a\.jpg"),
        ({"a.txt": b"x"}, r"holds no image"),
    ],
)
def test_other_shards_are_refused_in_a_sentence(tmp_path: Path, content: dict[str, bytes], told: str) -> None:
    write_shard(tmp_path / "train-0000.tar", content)
    with pytest.raises(ValueError, match=told):
        _ = read(tmp_path, classes=2, image_size=4).train


def test_files_that_are_no_shards_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "valid-0.tar").write_bytes(os.urandom(2000))
    with pytest.raises(FileNotFoundError, match=r"no train split .* Or name another .*\(valid\)"):
        _ = read(tmp_path).train
    (tmp_path / "valid-0.tar").rename(tmp_path / "train-0.tar")
    with pytest.raises(ValueError, match=r"train-0\.tar cannot be read as a tar file without compression"):
        _ = read(tmp_path).train
