"""Tar files of images, as WebDataset lays them out, read at any place by an index that is made once."""

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from archselect.data.decode import EncodedImages
from archselect.data.sources import IMAGE_SUFFIXES, SPLITS, LocalSource, Split, digest, digest_of_files
from archselect.safe_io.files import open_picture, printable
from archselect.store import atomic_write

LAYOUT = 1
"""Raised when what an index holds changes."""

LABEL_BYTES = 20  # of a whole number, as text


class Index(NamedTuple):
    """Where the images of a split lie in its shards, each an array `(N,)`."""

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray
    name: np.ndarray


@dataclass(frozen=True, kw_only=True)
class TarShards(LocalSource):
    """Images in `train-0000.tar`, `train-0001.tar`, ... and `test-0000.tar`, ..., in one folder.

    In a shard, `KEY.jpg` (or another picture) lies beside `KEY.cls`, its class as a whole number from 0 on in text.
    Where everything lies is found once, by reading all headers, and written beside the shards, to
    `.archselect-index-SPLIT.npz`; where nothing may be written, it is found anew every time.
    """

    label = "webdataset"
    resizes = True
    file_holds = "no folder of shards, for it is a file"
    expected = "train-0000.tar, train-0001.tar, ... and test-0000.tar, ..., with KEY.jpg and KEY.cls of every image"

    def fingerprint(self) -> str:
        files = [file for split in SPLITS for file in self._shards(split)]
        return digest("shards", digest_of_files(self.root, files), self.train_split, self.test_split)

    def open(self, split: Split) -> EncodedImages:
        shards = self._shards(split)
        if not shards:
            there = {re.split(r"[-_.]\d", file.stem)[0] for file in self.root.glob("*.tar")}
            raise self.missing(split, sorted(there))
        index = self._index(split, shards)

        def image(number: int) -> Image.Image:
            with shards[index.shard[number]].open("rb") as file:
                file.seek(index.offset[number])
                return open_picture(io.BytesIO(file.read(index.size[number])))

        def name(number: int) -> str:
            return f"{index.name[number]} of {shards[index.shard[number]]}"

        return EncodedImages(torch.from_numpy(index.label), image, name)

    def _shards(self, split: Split) -> list[Path]:
        if not self.root.is_dir():
            raise self.missing(split)
        for name in self.names(split):
            if found := sorted(self.root.glob(f"{name}[-_.]*.tar")) or sorted(self.root.glob(f"{name}.tar")):
                return found
        return []

    def _index(self, split: Split, shards: list[Path]) -> Index:
        """Return the index that lies beside the shards, if it is of these, or a new one."""
        place = self.root / f".archselect-index-{split}.npz"
        states = [(shard.name, shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards]
        stamp = digest(LAYOUT, states)
        with suppress(Exception), np.load(place, allow_pickle=False) as kept:  # it is made anew, whatever is wrong
            found = Index(*(kept[field] for field in Index._fields))
            alike = {column.shape for column in found} == {(len(found.label),)} and found.label.dtype == np.int64
            if alike and str(kept["stamp"]) == stamp:
                return found
        rows = [(number, *row) for number, shard in enumerate(shards) for row in _images_of(shard)]
        if not rows:
            raise ValueError(f"{shards[0]} holds no image. Expected {self.expected}.")
        index = Index(*(np.array(column) for column in zip(*rows, strict=True)))
        with suppress(OSError), atomic_write(place) as file:
            np.savez(file, stamp=stamp, **index._asdict())
        return index


def _images_of(shard: Path) -> Iterator[tuple[int, int, np.int64, str]]:
    """Yield offset, size, label and name of each image of a shard, in its order.

    Raises:
        ValueError: It is no tar file, or an image has no class, or one with another image.
    """
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, np.int64] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                key, _, ending = member.name.rpartition("/")[2].partition(".")
                key = f"{member.name.rpartition('/')[0]}/{key}"
                if not member.isreg() or member.issparse():
                    continue
                if f".{ending.lower()}" in IMAGE_SUFFIXES:
                    if (other := images.setdefault(key, member)) is not member:
                        names = f"{printable(other.name)} and {printable(member.name)}"
                        raise ValueError(
                            f"Expected one image per key, but {shard} has {names}, which share one class. Rename one."
                        )
                elif ending == "cls" and member.size <= LABEL_BYTES and (content := archive.extractfile(member)):
                    labels[key] = _whole(content.read(), member.name, shard)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"{shard} cannot be read as a tar file without compression ({error}). Unpack a compressed one, and "
            "fetch a damaged one again."
        ) from error
    for key, member in images.items():
        if key not in labels:
            raise ValueError(
                f"{printable(member.name)} of {shard} has no class. Expected a file {printable(key.strip('/'))}.cls "
                "beside it with a whole number from 0 on."
            )
        yield member.offset_data, member.size, labels[key], printable(member.name)


def _whole(content: bytes, name: str, shard: Path) -> np.int64:
    text = content.decode("ascii", "replace").strip()
    if not text.isdecimal() or int(text) > np.iinfo(np.int64).max:
        raise ValueError(
            f"Expected a whole number from 0 on in {printable(name)} of {shard}, below 2 ** 63, got "
            f"{printable(text)!r}."
        )
    return np.int64(text)
