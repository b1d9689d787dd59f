"""Where images come from: scikit-learn's digits, folders of images per class; for the Hugging Face format `tables`."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.decode import EncodedImages
from archselect.data.pixels import Stored
from archselect.data.splits import stratified_split
from archselect.data.targets import TARGETS, open_target_folder
from archselect.distributed.rng import generator_for
from archselect.safe_io.files import open_array, open_picture, printable
from archselect.store.integrity import sha256_of

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
USUAL = {"train": ("train", "training"), "test": ("test", "testing")}
"""What the splits are called where nothing is said. A split "validation" is never taken for the test images unasked."""

IMAGE_SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm".split()  # noqa: SIM905
)
ARRAYS = ".npy"  # the ending of arrays of pixels
ENDINGS = ", ".join(sorted({*IMAGE_SUFFIXES, ARRAYS}))
LITTER = frozenset({"thumbs.db", "desktop.ini"})
"""What systems leave in folders, besides hidden files: no one put it there, so no one is told that it is not read."""

CONTENT_LIMIT = 2 * 1024**3  # bytes; above, reading everything would take longer than it is worth


def digest(*parts: object) -> str:
    """Return the SHA-256 of `parts`, which are told apart by type and position."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of files: their names relative to `root`, sizes and contents; where `root` lies never counts.

    When the files have more than 2 GiB in total, names and sizes alone count.
    """
    described = sorted((file.relative_to(root).as_posix() if file != root else file.name, file) for file in files)
    sizes = [file.stat().st_size for _, file in described]
    whole = sum(sizes) <= CONTENT_LIMIT
    contents = [sha256_of(file) if whole else None for _, file in described]
    return digest(*zip((name for name, _ in described), sizes, contents, strict=True))


class Source(ABC):
    """A data set with a train and a test split, opened without reading more than is asked for.

    Attributes:
        resizes: Whether images of another size are brought to the configured one, or refused.
        label: Of stages' folders in place of a name that follows from a path, so that data may be moved.
    """

    resizes: ClassVar[bool] = False
    label: ClassVar[str | None] = None

    @abstractmethod
    def open(self, split: Split) -> EncodedImages:
        """Return the images of a split, undecoded; a ValueError or FileNotFoundError says what is wrong or missing."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what determines the data, as a digest."""

    def at(self, path: Path) -> "Source":
        """Return the same data set read from `path`."""
        raise ValueError(f"The data of {type(self).__name__} are not read from a path. Drop data.path={path}.")


class Digits(Source):
    """Handwritten digits (UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998).

    They come without a split; 80 % of every class, the same in every run, are the train split.
    """

    TRAIN_SHARE = 0.8
    BRIGHTEST = 16  # the pixels count from 0 to 16

    def open(self, split: Split) -> EncodedImages:
        pixels, labels = self._all()
        train, test = stratified_split(labels, self.TRAIN_SHARE, generator_for("digits", "train and test"))
        rows = (train if split == "train" else test).tolist()
        return EncodedImages(
            labels[rows], lambda i: Image.fromarray(pixels[rows[i]]), lambda i: f"row {rows[i]} of the digits", 10
        )

    def fingerprint(self) -> str:
        pixels, labels = self._all()
        return digest("digits", pixels.tobytes(), labels.tolist(), self.TRAIN_SHARE)

    def _all(self) -> tuple[np.ndarray, Tensor]:
        """Return all images `(1797, 8, 8)`, scaled to 0..255 in uint8, and their labels `(1797,)`."""
        from sklearn.datasets import load_digits  # takes a second, which other sources should not cost

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / self.BRIGHTEST)).astype(np.uint8)
        return pixels, torch.from_numpy(digits.target).long()


@dataclass(frozen=True, kw_only=True)
class LocalSource(Source):
    """A data set that may lie in a file or folder, with splits of the usual names or of others."""

    path: Path | None = None
    train_split: str | None = None
    test_split: str | None = None
    file_holds: ClassVar[str] = "one table, which is taken for the train split"

    @property
    @abstractmethod
    def expected(self) -> str:
        """What may lie at the path, for an error."""

    def at(self, path: Path) -> Self:
        return replace(self, path=path)

    @property
    def root(self) -> Path:
        """The path.

        Raises:
            ValueError: None was given.
            FileNotFoundError: Nothing is there.
        """
        if self.path is None:
            raise ValueError(f"These data need their path: data.path=FOLDER with {self.expected}.")
        if not self.path.exists():
            raise FileNotFoundError(f"data.path is {self.path}, which does not exist. Expected {self.expected}.")
        return self.path

    def names(self, split: Split) -> tuple[str, ...]:
        """Return the names that a split may have; the first that is there is the one."""
        name = self.train_split if split == "train" else self.test_split
        return USUAL[split] if name is None else (name,)

    def missing(self, split: Split, there: Sequence[str] = ()) -> FileNotFoundError:
        """Return the error for a split that is not there; `there` are the names of those that are."""
        found = listing(self.root) if self.root.is_dir() else self.file_holds
        other = f" Or name another split: data.source.{split}_split=... ({', '.join(there)})." if there else ""
        return FileNotFoundError(
            f"data.path, {self.path}, has no {split} split of the name {' or '.join(self.names(split))}: it holds "
            f"{found}. Expected {self.expected}.{other}"
        )


class ImageFolder(LocalSource):
    """Images in `path/train/CLASS/` and `path/test/CLASS/` and in folders below; the classes go by the alphabet.

    Where the folder of a split has a file `targets.csv`, that names images and their targets; no folder is a class.

    Besides pictures, arrays `(H, W)` or `(H, W, C)` of uint8 as `numpy.save` writes them, of however many channels.

    Hidden files and folders, and what systems leave behind, count as not there. Links to folders below a class are not
    followed: they may lead round in circles. These and files with another ending than an image's are told of.
    """

    label = "image_folder"
    resizes = True
    file_holds: ClassVar[str] = "no folders, for it is a file"
    expected = "folders of images train/CLASS/IMAGE.png and test/CLASS/IMAGE.png"

    def files(self) -> list[Path]:
        """Return the images of both splits, which determine the data."""
        return [file for split in SPLITS if (place := self._place(split)) for file in _files(place)]

    def fingerprint(self) -> str:
        return digest("path", digest_of_files(self.root, self.files()), self.train_split, self.test_split)

    def open(self, split: Split) -> EncodedImages:
        train, place = self._place("train"), self._place(split)
        if train is None or place is None:
            raise self.missing("train" if train is None else split, _folders(self.root))
        if (train / TARGETS).is_file():
            if not (place / TARGETS).is_file():
                raise ValueError(f"{train} has a file {TARGETS}, {place} has none. Give both one, or neither.")
            return open_target_folder(place, images_below(place)[0], open_image)
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
            of_class, others = images_below(place / name)
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
            lambda i: open_image(images[i]),
            lambda i: str(images[i]),
            len(classes),
            tuple(map(printable, classes)),
            _told_unread(place, sorted(unread)),
        )

    def _place(self, split: Split) -> Path | None:
        return next((folder for name in self.names(split) if (folder := self.root / name).is_dir()), None)


def _folders(place: Path) -> list[str]:
    entries = place.iterdir() if place.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.is_dir() and not _hidden(entry.name))


def _files(place: Path) -> list[Path]:
    """Return the files that determine a split, in its folder."""
    if (place / TARGETS).is_file():
        return [place / TARGETS, *images_below(place)[0]]
    return [image for name in _folders(place) for image in images_below(place / name)[0]]


def open_image(file: Path) -> Stored:
    """Open a picture or an array; it is decoded later."""
    return open_array(file) if file.suffix.lower() == ARRAYS else open_picture(file)


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
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
            (images if file.suffix.lower() in {*IMAGE_SUFFIXES, ARRAYS} else others).append(file)
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
    number = f"{len(files)} files in {place} are" if len(files) > 1 else f"1 file in {place} is"
    return f"{number} not read{where} ({listed}), the first {printable(str(files[0]))}; images end in {ENDINGS}"


def listing(folder: Path) -> str:
    """Return the names of the first things in a folder, for an error."""
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"
