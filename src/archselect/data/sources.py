"""Where images come from: scikit-learn's digits, a folder of images per class, the Hugging Face hub or copies of it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.decode import EncodedImages, open_table
from archselect.data.local_files import LAYOUTS, ClassFolders, LocalImages, Split, SplitNames, local_images
from archselect.data.splits import stratified_split
from archselect.distributed.rng import generator_for
from archselect.safe_io.files import printable

CONTENT_LIMIT = 2 * 1024**3  # bytes; above, reading everything would take longer than it is worth


def digest(*parts: object) -> str:
    """Return the SHA-256 of `parts`, which are told apart by type and position."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of files: their names relative to `root`, sizes and contents.

    When the files have more than 2 GiB in total, names and sizes alone count. Where `root` lies never counts.
    """
    described = sorted((file.relative_to(root).as_posix() if file != root else file.name, file) for file in files)
    sizes = [file.stat().st_size for _, file in described]
    whole = sum(sizes) <= CONTENT_LIMIT
    return digest(
        *((name, size, _content(file) if whole else None) for (name, file), size in zip(described, sizes, strict=True))
    )


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Source(Protocol):
    """A data set with a train and a test split, found without reading more than is asked for."""

    resizes: bool  # whether images of another size are brought to the configured one, or refused
    label: str | None  # of stages' folders in place of a name that follows from a path, so that data may be moved

    def at(self, path: Path) -> "Source":
        """Return the same data set read from `path`.

        Raises:
            ValueError: when it cannot be.
        """
        ...

    def open(self, split: Split) -> EncodedImages:
        """Return the images of a split, undecoded; `ValueError` where it is missing or damaged."""
        ...

    def classes(self) -> int:
        """Return the number of classes without opening images; `ValueError` where the configuration must say it."""
        ...

    def class_names(self) -> tuple[str, ...] | None:
        """Return the names of the classes in the order of their numbers, where the data tell."""
        ...

    def image_size(self) -> int:
        """Return height and width of the first image; `ValueError` where the configuration must say it."""
        ...

    def fingerprint(self) -> str:
        """Return what determines the data, as a digest."""
        ...


TRAIN_SHARE = 0.8
BRIGHTEST = 16  # the pixels count from 0 to 16


@dataclass(frozen=True)
class Digits:
    """Handwritten digits (UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998).

    They come without a split; 80 % of every class, the same in every run, are the train split.
    """

    label = None
    resizes = False

    def at(self, path: Path) -> "Digits":
        raise ValueError(f"The digits come with scikit-learn and are not read from a path. Drop data.path={path}.")

    def open(self, split: Split) -> EncodedImages:
        pixels, labels = _digits()
        train, test = stratified_split(labels, TRAIN_SHARE, generator_for("digits", "train and test"))
        rows = (train if split == "train" else test).tolist()
        return EncodedImages(
            labels[rows], lambda i: Image.fromarray(pixels[rows[i]]), lambda i: f"row {rows[i]} of the digits", 10
        )

    def classes(self) -> int:
        return 10

    def class_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(10)))

    def image_size(self) -> int:
        return 8

    def fingerprint(self) -> str:
        pixels, labels = _digits()
        return digest("digits", pixels.tobytes(), labels.tolist(), TRAIN_SHARE)


def _digits() -> tuple[np.ndarray, Tensor]:
    """Return all images `(1797, 8, 8)`, scaled to 0..255 in uint8, and their labels `(1797,)`."""
    from sklearn.datasets import load_digits  # takes a second, which other sources should not cost

    digits = load_digits()
    return np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8), torch.from_numpy(digits.target).long()


@dataclass(frozen=True)
class ImageFolder:
    """Images in `path/train/CLASS/` and `path/test/CLASS/`; the names of the folders are the classes.

    Attributes:
        path: of the folder that holds both.
        train_split: name of the folder with the training images; `None` for "train" or "training".
        test_split: name of the folder with the test images; `None` for "test" or "testing".
    """

    path: Path | None = None
    train_split: str | None = None
    test_split: str | None = None

    label = "image_folder"
    resizes = True

    def at(self, path: Path) -> "ImageFolder":
        return replace(self, path=path)

    def open(self, split: Split) -> EncodedImages:
        return self._folders().open(split)

    def classes(self) -> int:
        return len(self._folders().classes())

    def class_names(self) -> tuple[str, ...]:
        return tuple(map(printable, self._folders().classes()))

    def image_size(self) -> int:
        return self.open("train").size_of(0)

    def fingerprint(self) -> str:
        folders = self._folders()
        return digest("path", digest_of_files(folders.path, folders.files()), self.train_split, self.test_split)

    def _folders(self) -> ClassFolders:
        if self.path is None:
            raise ValueError(
                "An image folder needs its path: data.path=FOLDER with train/CLASS/IMAGE.png and test/CLASS/IMAGE.png."
            )
        names = SplitNames(self.train_split, self.test_split)
        candidates = names.candidates("train")
        if not any((self.path / name).is_dir() for name in candidates):
            raise FileNotFoundError(
                f"data.path is {self.path}, but {self.path / candidates[0]} is not a folder. "
                "Expected train/CLASS/IMAGE.png and test/CLASS/IMAGE.png; folders of other names: "
                "data.source.train_split=... data.source.test_split=..."
            )
        return ClassFolders(self.path, names)


@dataclass(frozen=True)
class HubImages:
    """A classification data set of the hub, downloaded once and cached by `datasets`, or read from `path`.

    Attributes:
        repository: name on the hub, e.g. "uoft-cs/cifar10"; `None` where only a path is read.
        image_column: column of the encoded images; `None` for the only one that holds images.
        label_column: column of the labels, whole numbers from 0; `None` for the only one that holds classes.
        configuration: which of the repository's configurations; `None` for its default.
        revision: commit, tag or branch on the hub; `None` for the newest.
        path: a local copy that is read in place of the hub.
        train_split: name of the split with the training images; `None` for "train" or "training".
        test_split: name of the split with the test images; `None` for "test" or "testing".
    """

    repository: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    configuration: str | None = None
    revision: str | None = None
    path: Path | None = None
    train_split: str | None = None
    test_split: str | None = None

    label: ClassVar[str | None] = None
    resizes: ClassVar[bool] = False

    def at(self, path: Path) -> "HubImages":
        return replace(self, path=path)

    def open(self, split: Split) -> EncodedImages:
        """Open one split.

        Raises:
            FileNotFoundError: when it is neither on disk nor can be downloaded; says what to put where.
        """
        if self.path is not None:
            return self._local(self.path).open(split)
        if self.repository is None:
            raise ValueError(
                "A data set in the Hugging Face format needs its place: data.path=FOLDER with what `save_to_disk` of "
                "`datasets` wrote or with parquet files, or data.source.repository=OWNER/NAME for one of the hub."
            )
        import datasets  # takes a second, which other sources should not cost
        from datasets.exceptions import DatasetsError

        name = self._names.candidates(split)[0]
        try:
            table = datasets.load_dataset(self.repository, name=self.configuration, revision=self.revision, split=name)
        except (OSError, DatasetsError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(
                f"The {name} split of {self.repository} is not cached and cannot be had from the Hugging Face hub "
                f"({type(error).__name__}: {error}). Connect to the network, or download the parquet files of "
                f"https://huggingface.co/datasets/{self.repository} and say data.path=FOLDER, with train.parquet and "
                f"test.parquet in FOLDER, columns {self.image_column or 'of your choice'} (encoded images) and "
                f"{self.label_column or 'of your choice'} (whole numbers). Other layouts: {LAYOUTS}."
            ) from error
        return open_table(table, self.image_column, self.label_column, f"the {name} split of {self.repository}")

    def classes(self) -> int:
        """Return how many classes the training images have: as many as are named, or as there are numbers.

        Raises:
            ValueError: when the numbers leave one out, so that they may be something else.
        """
        count, _, labels = self._told
        if count is not None:
            return count
        if labels != list(range(len(labels))):
            raise ValueError(
                f"Expected labels from 0 on without a gap where classes have no names, but the training images have "
                f"the labels {', '.join(map(str, labels[:8]))}{', ...' if len(labels) > 8 else ''}. Number the classes "
                "from 0, name another column by data.source.label_column=..., or set data.classes."
            )
        return len(labels)

    def class_names(self) -> tuple[str, ...] | None:
        return self._told[1]

    def image_size(self) -> int:
        return self.open("train").size_of(0)

    def fingerprint(self) -> str:
        """Return a digest of the local files, or else of the name on the hub, and of columns and splits."""
        chosen = (self.image_column, self.label_column, self.train_split, self.test_split)
        if self.path is None:
            return digest("hub", self.repository, self.configuration, self.revision, *chosen)
        return digest("path", digest_of_files(self.path, self._local(self.path).files()), *chosen)

    @cached_property
    def _told(self) -> tuple[int | None, tuple[str, ...] | None, list[int]]:
        """Number and names of the classes, where the training images tell, and which labels they have."""
        train = self.open("train")
        return train.classes, train.class_names, train.labels.unique().tolist()

    @property
    def _names(self) -> SplitNames:
        return SplitNames(self.train_split, self.test_split)

    def _local(self, path: Path) -> LocalImages:
        return local_images(path, self.image_column, self.label_column, self._names)


@dataclass(frozen=True)
class HuggingFaceImages(HubImages):
    """Any data set in the Hugging Face format: what is not named is told by the data, and images are resized."""

    label = "huggingface"
    resizes = True
