"""Data sets that lie in a file or folder: parquet files, a saved data set, or folders of images per class."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from archselect.data.decode import EncodedImages, open_table
from archselect.safe_io.data_files import open_picture, read_parquet
from archselect.safe_io.files import EXPANSION, EXPANSION_FREE, printable, read_json

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
USUAL = {"train": ("train", "training"), "test": ("test", "testing")}
"""What the splits are called where nothing is said. A split "validation" is never taken for the test images unasked."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
LITTER = frozenset({"thumbs.db", "desktop.ini"})
"""What systems leave in folders, besides hidden files: no one put it there, so no one is told that it is not read."""

LAYOUTS = (
    "a folder with train.parquet and test.parquet (or train-*.parquet and test-*.parquet), a folder written by "
    "`save_to_disk` of `datasets`, or folders of images train/CLASS/IMAGE.png and test/CLASS/IMAGE.png"
)


@dataclass(frozen=True)
class SplitNames:
    """What the splits of a data set are called; `None`: as usual."""

    train: str | None = None
    test: str | None = None

    def candidates(self, split: Split) -> tuple[str, ...]:
        """Return the names that a split may have, the first that is there being the one."""
        name = self.train if split == "train" else self.test
        return USUAL[split] if name is None else (name,)

    def find(self, split: Split, there: Collection[str]) -> str | None:
        """Return the name of a split among those that are there, if it is."""
        return next((name for name in self.candidates(split) if name in there), None)


AS_USUAL = SplitNames()


class LocalImages(Protocol):
    """A data set in one of the layouts."""

    def open(self, split: Split) -> EncodedImages: ...

    def files(self) -> list[Path]:
        """Return the files that determine the data, of both splits."""
        ...


def local_images(
    path: Path, image_column: str | None, label_column: str | None, names: SplitNames = AS_USUAL
) -> LocalImages:
    """Find out how the data at `path` are laid out.

    Args:
        path: A file or folder.
        image_column: Column of the images in a table; `None`: the only one that holds images.
        label_column: Column of the labels in a table; `None`: the only one that holds classes.
        names: Of the splits.

    Raises:
        FileNotFoundError: when `path` does not exist.
        ValueError: when nothing there looks like a data set.
    """
    columns = (
        f"tables have the columns {image_column or 'of your choice'} (encoded images) and "
        f"{label_column or 'of your choice'} (whole numbers)"
    )
    if not path.exists():
        raise FileNotFoundError(f"data.path is {path}, which does not exist. Expected {LAYOUTS}; {columns}.")
    parquet = ParquetFiles(path, image_column, label_column, names)
    if path.is_file() or parquet.files():
        return parquet
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return SavedDataset(path, image_column, label_column, names)
    if any((path / name).is_dir() for split in SPLITS for name in names.candidates(split)):
        return ClassFolders(path, names)
    if parquet.splits():  # it says which there are
        return parquet
    raise ValueError(
        f"Nothing in data.path, {path}, looks like a data set: it holds {_listing(path)}. Expected {LAYOUTS}; "
        f"{columns}."
    )


@dataclass(frozen=True)
class ParquetFiles:
    """`train.parquet` and `test.parquet` (or `train-*.parquet` ...) in a folder, or one file: the train split.

    Where there are none in the folder itself, those in its folder `data` are read, as in repositories of the hub.
    """

    path: Path
    image_column: str | None
    label_column: str | None
    names: SplitNames = AS_USUAL

    def splits(self) -> list[str]:
        """Return the names of the splits that are there: those of the files up to the first `-`."""
        return sorted({file.stem.partition("-")[0] for file in self._all()})

    def files(self) -> list[Path]:
        return sorted({file for split in SPLITS for file in self._of(split)})

    def open(self, split: Split) -> EncodedImages:
        # Imported where they are used: they take a second, which sets without tables should not cost.
        import datasets
        import pyarrow

        files = self._of(split)
        if not files:
            first = self.names.candidates(split)[0]
            raise _missing_split(self.path, split, f"{first}.parquet", [] if self.path.is_file() else self.splits())
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

    def _all(self) -> list[Path]:
        return sorted(self.path.glob("*.parquet")) or sorted(self.path.glob("data/*.parquet"))

    def _of(self, split: Split) -> list[Path]:
        """Return the files of a split in their order."""
        if self.path.is_file():
            return [self.path] if split == "train" else []
        files = self._all()
        for name in self.names.candidates(split):
            if found := [file for file in files if file.stem == name or file.name.startswith(f"{name}-")]:
                return found
        return []


@dataclass(frozen=True)
class SavedDataset:
    """A folder written by `Dataset.save_to_disk` (the train split) or `DatasetDict.save_to_disk`."""

    path: Path
    image_column: str | None
    label_column: str | None
    names: SplitNames = AS_USUAL

    def files(self) -> list[Path]:
        # Besides the data, `datasets` keeps results of its own operations there.
        return sorted(f for f in self.path.rglob("*") if f.is_file() and not f.name.startswith("cache-"))

    def open(self, split: Split) -> EncodedImages:
        import datasets

        place, name = self._place(split)
        try:
            _check_own_files(place)
            table = datasets.load_from_disk(str(place))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self.path} cannot be read as a data set written by `save_to_disk` ({error})."
            ) from error
        return open_table(table, self.image_column, self.label_column, f"the {name} split of {self.path}")

    def _place(self, split: Split) -> tuple[Path, str]:
        """Return folder and name of a split."""
        if not (self.path / "dataset_dict.json").is_file():
            if split == "train":
                return self.path, split
            raise _missing_split(self.path, split, f"a {split} split", [])
        there = read_json(self.path / "dataset_dict.json", self.path)
        splits = [str(name) for name in there.get("splits", ())] if isinstance(there, dict) else []
        name = self.names.find(split, splits)
        if name is None or not _is_plain(name):
            raise _missing_split(self.path, split, f"a {self.names.candidates(split)[0]} split", splits)
        return self.path / name, name


def _is_plain(name: str) -> bool:
    """Return whether a name is that of something in a folder, and leads nowhere else."""
    return name not in ("", ".", "..") and Path(name).name == name


def _check_own_files(place: Path) -> None:
    """Refuse a saved split that names files outside of its folder: they would be opened, and shown."""
    state = read_json(place / "state.json", place)
    files = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(files, list):
        raise ValueError(f"{place / 'state.json'} does not name the files of the data")
    for file in files:
        name = file.get("filename") if isinstance(file, dict) else None
        if not isinstance(name, str) or not _is_plain(name) or (place / name).is_symlink():
            raise ValueError(f"{place / 'state.json'} names the file {name!r}, which does not lie in {place}")


@dataclass(frozen=True)
class ClassFolders:
    """Images in `train/CLASS/` and `test/CLASS/` and in folders below; the classes are numbered by their names' order.

    Hidden files and folders, and what systems leave behind, count as not there. Links to folders below a class are not
    followed: they may lead round in circles. These and files with another ending than an image's are told of.
    """

    path: Path
    names: SplitNames = AS_USUAL

    def classes(self) -> list[str]:
        """Return the names of the folders in `train/`.

        Raises:
            ValueError: when there are none.
        """
        names = self._folders("train")
        if not names:
            raise ValueError(f"{self._place('train')} has no folders. Expected one folder of images per class.")
        return names

    def files(self) -> list[Path]:
        return [
            image for split in SPLITS for name in self._folders(split) for image in _walk(self._place(split) / name)[0]
        ]

    def open(self, split: Split) -> EncodedImages:
        place = self._place(split)
        if not place.is_dir():
            there = [entry.name for entry in self.path.iterdir() if entry.is_dir() and not _hidden(entry.name)]
            raise _missing_split(self.path, split, f"{place.name}/CLASS/IMAGE.png", sorted(there))
        classes = self.classes()
        if unknown := sorted(set(self._folders(split)) - set(classes)):
            raise ValueError(
                f"{place} has folders for classes that {self._place('train')} does not have: "
                f"{', '.join(unknown)}. Expected the same classes in both."
            )
        images, labels, unread = [], [], [f for f in place.iterdir() if not f.is_dir() and not _hidden(f.name)]
        for label, name in enumerate(classes):
            of_class, others = _walk(place / name)
            if split == "train" and not of_class:
                raise ValueError(
                    f"{place / name} has no images. Expected files with one of the endings "
                    f"{_endings()} in the folder of their class, or in folders below it."
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
            tuple(printable(name) for name in classes),
            _unread(place, sorted(unread)),
        )

    def _place(self, split: Split) -> Path:
        """Return the folder of a split; the usual one where there is none."""
        names = self.names.candidates(split)
        return self.path / next((name for name in names if (self.path / name).is_dir()), names[0])

    def _folders(self, split: Split) -> list[str]:
        folder = self._place(split)
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images in a folder and in those below it, and what else is there, both in the order of their paths.

    Raises:
        OSError: when a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    images: list[Path] = []
    others: list[Path] = []
    if not folder.is_dir():
        return images, others
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _hidden(name)]
        others += [link for name in folders if (link := Path(place, name)).is_symlink()]
        for name in files:
            if not _hidden(name):
                (images if Path(name).suffix.lower() in IMAGE_SUFFIXES else others).append(Path(place, name))
    return sorted(images), sorted(others)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _unread(place: Path, files: Sequence[Path]) -> str:
    """Return what is said of files in the folder of a split that are not read; nothing of no files."""
    if not files:
        return ""
    outside = sum(file.parent == place for file in files)
    kinds = Counter("a link to a folder" if file.is_dir() else file.suffix.lower() or "no ending" for file in files)
    listed = ", ".join(f"{printable(kind)}: {count}" for kind, count in kinds.most_common(4))
    where = f", {outside} of them in no folder of a class" if outside else ""
    return (
        f"{len(files)} file{'s' if len(files) > 1 else ''} in {place} {'are' if len(files) > 1 else 'is'} not read"
        f"{where} ({listed}), the first {printable(str(files[0]))}; images end in {_endings()}"
    )


def _endings() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))


def _missing_split(path: Path, split: Split, expected: str, there: Sequence[str]) -> FileNotFoundError:
    found = _listing(path) if path.is_dir() else "one file, which is taken as the train split"
    other = f" Or name another split: data.source.{split}_split=... ({', '.join(there)})." if there else ""
    return FileNotFoundError(
        f"{path} has no {split} split: expected {expected}, found {found}. Expected {LAYOUTS}.{other}"
    )


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"
