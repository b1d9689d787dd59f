"""Data sets that lie in a file or folder: parquet files, a saved data set, or folders of images per class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from archselect.data.stored import StoredImages
from archselect.data.table import open_table
from archselect.foreign.limits import EXPANSION, EXPANSION_FREE
from archselect.foreign.pictures import open_picture
from archselect.foreign.tables import read_parquet

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
LAYOUTS = (
    "a folder with train.parquet and test.parquet (or train-*.parquet and test-*.parquet), a folder written by "
    "`save_to_disk` of `datasets`, or folders of images train/CLASS/IMAGE.png and test/CLASS/IMAGE.png"
)


class LocalImages(Protocol):
    """A data set in one of the layouts."""

    def open(self, split: Split) -> StoredImages: ...

    def files(self) -> list[Path]:
        """Return the files that determine the data, of both splits."""
        ...


def local_images(path: Path, image_column: str, label_column: str) -> LocalImages:
    """Find out how the data at `path` are laid out; tables have the two columns.

    Raises:
        FileNotFoundError: when `path` does not exist.
        ValueError: when nothing there looks like a data set.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"data.path is {path}, which does not exist. Expected {LAYOUTS}; tables have the columns "
            f"{image_column} (encoded images) and {label_column} (whole numbers)."
        )
    if path.is_file() or _parquet_files(path):
        return ParquetFiles(path, image_column, label_column)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return SavedDataset(path, image_column, label_column)
    if any((path / split).is_dir() for split in SPLITS):
        return ClassFolders(path)
    raise ValueError(
        f"Nothing in data.path, {path}, looks like a data set: it holds {_listing(path)}. Expected {LAYOUTS}; "
        f"tables have the columns {image_column} (encoded images) and {label_column} (whole numbers)."
    )


@dataclass(frozen=True)
class ParquetFiles:
    """`train.parquet` and `test.parquet` (or `train-*.parquet` ...) in a folder, or one file: the train split."""

    path: Path
    image_column: str
    label_column: str

    def files(self) -> list[Path]:
        return [self.path] if self.path.is_file() else _parquet_files(self.path)

    def open(self, split: Split) -> StoredImages:
        # Imported where they are used: they take a second, which sets without tables should not cost.
        import datasets
        import pyarrow

        if self.path.is_file():
            files = [self.path] if split == "train" else []
        else:
            files = [
                file for file in self.files() if file.name == f"{split}.parquet" or file.name.startswith(f"{split}-")
            ]
        if not files:
            raise _missing_split(self.path, split, f"{split}.parquet")
        tables = []
        for file in files:
            limit = EXPANSION_FREE + EXPANSION * file.stat().st_size
            tables.append(read_parquet(file, lambda name: True, limit))
        try:
            table = datasets.Dataset(pyarrow.concat_tables(tables))
        except pyarrow.ArrowException as error:
            raise ValueError(f"The parquet files of {self.path} do not have the same columns ({error}).") from error
        origin = str(files[0]) if len(files) == 1 else f"{files[0]} and those that follow"
        return open_table(table, self.image_column, self.label_column, origin)


@dataclass(frozen=True)
class SavedDataset:
    """A folder written by `Dataset.save_to_disk` (the train split) or `DatasetDict.save_to_disk`."""

    path: Path
    image_column: str
    label_column: str

    def files(self) -> list[Path]:
        # Besides the data, `datasets` keeps results of its own operations there.
        return sorted(f for f in self.path.rglob("*") if f.is_file() and not f.name.startswith("cache-"))

    def open(self, split: Split) -> StoredImages:
        import datasets

        try:
            saved = datasets.load_from_disk(str(self.path))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self.path} cannot be read as a data set written by `save_to_disk` ({error})."
            ) from error
        splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        if split not in splits:
            raise _missing_split(self.path, split, f"a {split} split")
        return open_table(splits[split], self.image_column, self.label_column, f"the {split} split of {self.path}")


@dataclass(frozen=True)
class ClassFolders:
    """Images in `train/CLASS/` and `test/CLASS/`; the classes are numbered in the order of their names."""

    path: Path

    def classes(self) -> list[str]:
        """Return the names of the folders in `train/`.

        Raises:
            ValueError: when there are none.
        """
        names = self._folders("train")
        if not names:
            raise ValueError(f"{self.path / 'train'} has no folders. Expected one folder of images per class.")
        return names

    def files(self) -> list[Path]:
        return [
            image for split in SPLITS for name in self._folders(split) for image in _images(self.path / split / name)
        ]

    def open(self, split: Split) -> StoredImages:
        if not (self.path / split).is_dir():
            raise _missing_split(self.path, split, f"{split}/CLASS/IMAGE.png")
        classes = self.classes()
        if unknown := sorted(set(self._folders(split)) - set(classes)):
            raise ValueError(
                f"{self.path / split} has folders for classes that {self.path / 'train'} does not have: "
                f"{', '.join(unknown)}. Expected the same classes in both."
            )
        images, labels = [], []
        for label, name in enumerate(classes):
            of_class = _images(self.path / split / name)
            if split == "train" and not of_class:
                raise ValueError(
                    f"{self.path / split / name} has no images. Expected files with one of the endings "
                    f"{', '.join(sorted(IMAGE_SUFFIXES))} directly in the folder of their class."
                )
            images += of_class
            labels += [label] * len(of_class)
        if not images:
            raise ValueError(f"{self.path / split} has no images. Expected {split}/CLASS/IMAGE.png.")
        return StoredImages(
            torch.tensor(labels), lambda i: open_picture(images[i]), lambda i: str(images[i]), len(classes)
        )

    def _folders(self, split: Split) -> list[str]:
        folder = self.path / split
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    )


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for split in SPLITS
        for pattern in (f"{split}.parquet", f"{split}-*.parquet")
        for file in folder.glob(pattern)
    )


def _missing_split(path: Path, split: Split, expected: str) -> FileNotFoundError:
    found = _listing(path) if path.is_dir() else "one file, which is taken as the train split"
    return FileNotFoundError(f"{path} has no {split} split: expected {expected}, found {found}. Expected {LAYOUTS}.")


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"
