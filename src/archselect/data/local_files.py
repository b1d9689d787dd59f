"""Data sets that lie in a file or folder: what all layouts have in common, and folders of images per class."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from archselect.data.decode import EncodedImages
from archselect.safe_io.data_files import open_picture
from archselect.safe_io.files import printable

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
USUAL = {"train": ("train", "training"), "test": ("test", "testing")}
"""What the splits are called where nothing is said. A split "validation" is never taken for the test images unasked."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
ENDINGS = ", ".join(sorted(IMAGE_SUFFIXES))
LITTER = frozenset({"thumbs.db", "desktop.ini"})
"""What systems leave in folders, besides hidden files: no one put it there, so no one is told that it is not read."""

LAYOUTS = (
    "a folder with train.parquet and test.parquet (or train-*.parquet and test-*.parquet), a folder written by "
    "`save_to_disk` of `datasets`, or folders of images train/CLASS/IMAGE.png and test/CLASS/IMAGE.png"
)


@dataclass(frozen=True)
class LocalImages(ABC):
    """A data set in one of the layouts.

    Attributes:
        path: Of the file or folder.
        image_column: Column of the images in a table; None: the only one that holds images.
        label_column: Column of the labels in a table; None: the only one that holds classes.
        train_split: What the split of the training images is called; None: as usual.
        test_split: What the split of the test images is called; None: as usual.
    """

    path: Path
    image_column: str | None = None
    label_column: str | None = None
    train_split: str | None = None
    test_split: str | None = None

    @abstractmethod
    def open(self, split: Split) -> EncodedImages:
        """Return the images of a split, undecoded."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the files that determine the data, of both splits."""

    def names(self, split: Split) -> tuple[str, ...]:
        """Return the names that a split may have; the first that is there is the one."""
        name = self.train_split if split == "train" else self.test_split
        return USUAL[split] if name is None else (name,)

    def missing(self, split: Split, expected: str, there: Sequence[str] = ()) -> FileNotFoundError:
        """Return the error for a split that is not there; `there` are the names of those that are."""
        found = listing(self.path) if self.path.is_dir() else "one file, which is taken as the train split"
        other = f" Or name another split: data.source.{split}_split=... ({', '.join(there)})." if there else ""
        return FileNotFoundError(
            f"{self.path} has no {split} split: expected {expected}, found {found}. Expected {LAYOUTS}.{other}"
        )


class ClassFolders(LocalImages):
    """Images in `train/CLASS/` and `test/CLASS/` and in folders below; the classes are numbered by their names' order.

    Hidden files and folders, and what systems leave behind, count as not there. Links to folders below a class are not
    followed: they may lead round in circles. These and files with another ending than an image's are told of.
    """

    def place(self, split: Split) -> Path:
        """Return the folder of a split; the usual one where there is none."""
        names = self.names(split)
        return self.path / next((name for name in names if (self.path / name).is_dir()), names[0])

    def files(self) -> list[Path]:
        places = [self.place(split) / name for split in SPLITS for name in _folders(self.place(split))]
        return [image for place in places for image in _walk(place)[0]]

    def open(self, split: Split) -> EncodedImages:
        train, place = self.place("train"), self.place(split)
        if not place.is_dir():
            raise self.missing(split, f"{place.name}/CLASS/IMAGE.png", _folders(self.path))
        classes = _folders(train)
        if not classes:
            raise ValueError(f"{train} has no folders. Expected one folder of images per class.")
        if unknown := sorted(set(_folders(place)) - set(classes)):
            raise ValueError(
                f"{place} has folders for classes that {train} does not have: {', '.join(unknown)}. Expected the same "
                "classes in both."
            )
        images, labels, unread = [], [], [f for f in place.iterdir() if not f.is_dir() and not _hidden(f.name)]
        for label, name in enumerate(classes):
            of_class, others = _walk(place / name)
            if split == "train" and not of_class:
                raise ValueError(
                    f"{place / name} has no images. Expected files with one of the endings {ENDINGS} in the folder of "
                    "their class, or in folders below it."
                )
            images += of_class
            labels += [label] * len(of_class)
            unread += others
        if not images:
            raise ValueError(f"{place} has no images. Expected {place.name}/CLASS/IMAGE.png.")
        return EncodedImages(
            torch.tensor(labels),
            lambda i: open_picture(images[i]),
            lambda i: str(images[i]),
            len(classes),
            tuple(map(printable, classes)),
            _told_unread(place, sorted(unread)),
        )


def _folders(place: Path) -> list[str]:
    """Return the names of the folders in a folder; none where it is none."""
    entries = place.iterdir() if place.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images in a folder and in those below it, and what else is there, both in the order of their paths.

    Raises:
        OSError: A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    images: list[Path] = []
    others: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=refuse) if folder.is_dir() else ():
        folders[:] = [name for name in folders if not _hidden(name)]
        others += [link for name in folders if (link := Path(place, name)).is_symlink()]
        for file in (Path(place, name) for name in files if not _hidden(name)):
            (images if file.suffix.lower() in IMAGE_SUFFIXES else others).append(file)
    return sorted(images), sorted(others)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _told_unread(place: Path, files: Sequence[Path]) -> str:
    """Return what is said of files in the folder of a split that are not read; nothing of no files."""
    if not files:
        return ""
    outside = sum(file.parent == place for file in files)
    kinds = Counter("a link to a folder" if file.is_dir() else file.suffix.lower() or "no ending" for file in files)
    listed = ", ".join(f"{printable(kind)}: {count}" for kind, count in kinds.most_common(4))
    where = f", {outside} of them in no folder of a class" if outside else ""
    many = len(files) > 1
    return (
        f"{len(files)} file{'s' if many else ''} in {place} {'are' if many else 'is'} not read{where} ({listed}), "
        f"the first {printable(str(files[0]))}; images end in {ENDINGS}"
    )


def listing(folder: Path) -> str:
    """Return the names of the first things in a folder, for an error."""
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"
