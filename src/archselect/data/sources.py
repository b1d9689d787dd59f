"""Where images come from: scikit-learn's digits, a folder of images per class, the Hugging Face hub or copies of it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.decode import EncodedImages
from archselect.data.local_files import LAYOUTS, SPLITS, ClassFolders, LocalImages, Split, listing
from archselect.data.splits import stratified_split
from archselect.data.tables import ParquetFiles, SavedDataset, open_table
from archselect.distributed.rng import generator_for
from archselect.store.integrity import sha256_of

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
    contents = [sha256_of(file) if whole else None for _, file in described]
    return digest(*zip((name for name, _ in described), sizes, contents, strict=True))


class Source(ABC):
    """A data set with a train and a test split, found without reading more than is asked for.

    Attributes:
        resizes: Whether images of another size are brought to the configured one, or refused.
        label: Of stages' folders in place of a name that follows from a path, so that data may be moved.
    """

    resizes: ClassVar[bool] = False
    label: ClassVar[str | None] = None

    @abstractmethod
    def at(self, path: Path) -> "Source":
        """Return the same data set read from `path`; a ValueError says that it cannot be."""

    @abstractmethod
    def open(self, split: Split) -> EncodedImages:
        """Return the images of a split, undecoded; a ValueError or FileNotFoundError says what is wrong or missing."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what determines the data, as a digest."""

    def classes(self) -> int:
        """Return how many classes the training images have: as many as are named, or as there are numbers.

        Raises:
            ValueError: The numbers leave one out, so that they may be something else.
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
        """Return the names of the classes in the order of their numbers, where the data tell."""
        return self._told[1]

    def image_size(self) -> int:
        """Return height and width of the first image in pixels; a ValueError says that it is not square."""
        return self.open("train").size_of(0)

    @cached_property
    def _told(self) -> tuple[int | None, tuple[str, ...] | None, list[int]]:
        """Number and names of the classes, where the training images tell, and which labels they have."""
        train = self.open("train")
        return train.classes, train.class_names, train.labels.unique().tolist()


TRAIN_SHARE = 0.8
BRIGHTEST = 16  # the pixels count from 0 to 16


@dataclass(frozen=True)
class Digits(Source):
    """Handwritten digits (UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998).

    They come without a split; 80 % of every class, the same in every run, are the train split.
    """

    def at(self, path: Path) -> "Digits":
        raise ValueError(f"The digits come with scikit-learn and are not read from a path. Drop data.path={path}.")

    def open(self, split: Split) -> EncodedImages:
        pixels, labels = _digits()
        train, test = stratified_split(labels, TRAIN_SHARE, generator_for("digits", "train and test"))
        rows = (train if split == "train" else test).tolist()
        return EncodedImages(
            labels[rows], lambda i: Image.fromarray(pixels[rows[i]]), lambda i: f"row {rows[i]} of the digits", 10
        )

    def fingerprint(self) -> str:
        pixels, labels = _digits()
        return digest("digits", pixels.tobytes(), labels.tolist(), TRAIN_SHARE)


def _digits() -> tuple[np.ndarray, Tensor]:
    """Return all images `(1797, 8, 8)`, scaled to 0..255 in uint8, and their labels `(1797,)`."""
    from sklearn.datasets import load_digits  # takes a second, which other sources should not cost

    digits = load_digits()
    return np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8), torch.from_numpy(digits.target).long()


@dataclass(frozen=True)
class ImageFolder(Source):
    """Images in `path/train/CLASS/` and `path/test/CLASS/`; the names of the folders are the classes.

    Attributes:
        path: Of the folder that holds both.
        train_split: Name of the folder with the training images; None: "train" or "training".
        test_split: Name of the folder with the test images; None: "test" or "testing".
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

    def fingerprint(self) -> str:
        folders = self._folders()
        return digest("path", digest_of_files(folders.path, folders.files()), self.train_split, self.test_split)

    def _folders(self) -> ClassFolders:
        if self.path is None:
            raise ValueError(
                "An image folder needs its path: data.path=FOLDER with train/CLASS/IMAGE.png and test/CLASS/IMAGE.png."
            )
        folders = ClassFolders(self.path, train_split=self.train_split, test_split=self.test_split)
        if not folders.place("train").is_dir():
            raise FileNotFoundError(
                f"data.path is {self.path}, but {folders.place('train')} is not a folder. "
                "Expected train/CLASS/IMAGE.png and test/CLASS/IMAGE.png; folders of other names: "
                "data.source.train_split=... data.source.test_split=..."
            )
        return folders


@dataclass(frozen=True)
class HubImages(Source):
    """A classification data set of the hub, downloaded once and cached by `datasets`, or read from `path`.

    Attributes:
        repository: Name on the hub, e.g. "uoft-cs/cifar10"; None where only a path is read.
        image_column: Column of the encoded images; None: the only one that holds images.
        label_column: Column of the labels, whole numbers from 0; None: the only one that holds classes.
        configuration: Which of the repository's configurations; None: its default.
        revision: Commit, tag or branch on the hub; None: the newest.
        path: A local copy that is read in place of the hub.
        train_split: Name of the split with the training images; None: "train" or "training".
        test_split: Name of the split with the test images; None: "test" or "testing".
    """

    repository: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    configuration: str | None = None
    revision: str | None = None
    path: Path | None = None
    train_split: str | None = None
    test_split: str | None = None

    def at(self, path: Path) -> Self:
        return replace(self, path=path)

    def open(self, split: Split) -> EncodedImages:
        if self.path is not None:
            return self._local(self.path).open(split)
        if self.repository is None:
            raise ValueError(
                "A data set in the Hugging Face format needs its place: data.path=FOLDER with what `save_to_disk` of "
                "`datasets` wrote or with parquet files, or data.source.repository=OWNER/NAME for one of the hub."
            )
        import datasets  # takes a second, which other sources should not cost
        from datasets.exceptions import DatasetsError

        name = (self.train_split if split == "train" else self.test_split) or split
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

    def fingerprint(self) -> str:
        """Return a digest of the local files, or else of the name on the hub, and of columns and splits."""
        chosen = (self.image_column, self.label_column, self.train_split, self.test_split)
        if self.path is None:
            return digest("hub", self.repository, self.configuration, self.revision, *chosen)
        return digest("path", digest_of_files(self.path, self._local(self.path).files()), *chosen)

    def _local(self, path: Path) -> LocalImages:
        return local_images(path, self.image_column, self.label_column, self.train_split, self.test_split)


@dataclass(frozen=True)
class HuggingFaceImages(HubImages):
    """Any data set in the Hugging Face format: what is not named is told by the data, and images are resized."""

    label = "huggingface"
    resizes = True


def local_images(
    path: Path,
    image_column: str | None = None,
    label_column: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
) -> LocalImages:
    """Find out how the data at `path` are laid out; see `LocalImages`.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: Nothing there looks like a data set.
    """
    options = (path, image_column, label_column, train_split, test_split)
    columns = (
        f"tables have the columns {image_column or 'of your choice'} (encoded images) and "
        f"{label_column or 'of your choice'} (whole numbers)"
    )
    if not path.exists():
        raise FileNotFoundError(f"data.path is {path}, which does not exist. Expected {LAYOUTS}; {columns}.")
    parquet = ParquetFiles(*options)
    if path.is_file() or parquet.files():
        return parquet
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return SavedDataset(*options)
    folders = ClassFolders(*options)
    if any(folders.place(split).is_dir() for split in SPLITS):
        return folders
    if parquet.splits():  # it says which there are
        return parquet
    raise ValueError(
        f"Nothing in data.path, {path}, looks like a data set: it holds {listing(path)}. Expected {LAYOUTS}; {columns}."
    )
