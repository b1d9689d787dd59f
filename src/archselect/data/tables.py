"""Data sets in the Hugging Face format: of the hub, parquet files, saved sets; which columns are images and labels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from archselect.data.decode import EncodedImages
from archselect.data.sources import SPLITS, ImageFolder, LocalSource, Split, digest, digest_of_files, listing
from archselect.data.targets import LabelColumn, target_columns, targets_of
from archselect.safe_io.files import EXPANSION, EXPANSION_FREE, open_picture, printable, read_json, read_parquet

if TYPE_CHECKING:  # it takes a second, as pyarrow does, which other data should not cost
    import datasets
    import pyarrow

READ_UP_TO = 1024**3
"""Bytes of a split in parquet files; of more, `datasets` makes a file in its cache, once, that is mapped and not read.

Single images cannot be read from a parquet file: its rows are compressed together.
"""

LONGEST_NAME = 100  # characters of a class's name that are kept
NUMBERED = "Number the classes from 0 (class_encode_column(NAME) of `datasets` does), or name"


@dataclass(frozen=True)
class HubImages(LocalSource):
    """A classification data set of the hub, downloaded once and cached by `datasets`, or a local copy of it at `path`.

    Attributes:
        repository: Name on the hub, e.g. "uoft-cs/cifar10"; None where only a path is read.
        image_column: Column of the encoded images; None: the only one that holds images.
        label_column: Column of the labels, whole numbers from 0; None: the only one that holds classes. A column of
            decimal numbers or of lists of numbers, or a list of columns of numbers, holds targets.
        configuration: Which of the repository's configurations; None: its default.
        revision: Commit, tag or branch on the hub; None: the newest.
    """

    repository: str | None = None
    image_column: str | None = None
    label_column: LabelColumn = None
    configuration: str | None = None
    revision: str | None = None

    @property
    def expected(self) -> str:
        return (
            "a folder with train.parquet and test.parquet (or train-*.parquet and test-*.parquet), a folder written by "
            "`save_to_disk` of `datasets`, or folders of images train/CLASS/IMAGE.png and test/CLASS/IMAGE.png; tables "
            f"have the columns {self.image_column or 'of your choice'} (encoded images) and "
            f"{self.label_column or 'of your choice'} (whole numbers)"
        )

    def fingerprint(self) -> str:
        """Return a digest of the local files, or else of the name on the hub, and of columns and splits."""
        chosen = (self.image_column, self.label_column, self.train_split, self.test_split)
        if self.path is None:
            return digest("hub", self.repository, self.configuration, self.revision, *chosen)
        return digest("path", digest_of_files(self.root, self._files()), *chosen)

    def open(self, split: Split) -> EncodedImages:
        if self.path is None:
            table, origin = self._from_hub(split)
        else:
            match self._layout():
                case "folders":
                    return self._folders().open(split)
                case "parquet":
                    table, origin = self._from_parquet(split)
                case "saved":
                    table, origin = self._from_saved(split)
        return open_table(table, self.image_column, self.label_column, origin)

    def _layout(self) -> Literal["parquet", "saved", "folders"]:
        """Return how the data at the path are laid out."""
        root = self.root
        if root.is_file() or any(map(self._parquet_of, SPLITS)):
            return "parquet"
        if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
            return "saved"
        if any((root / name).is_dir() for split in SPLITS for name in self.names(split)):
            return "folders"
        if _parquet_in(root):  # under other names, which the error lists
            return "parquet"
        raise ValueError(
            f"Nothing in data.path, {root}, looks like a data set: it holds {listing(root)}. Expected {self.expected}."
        )

    def _files(self) -> list[Path]:
        """Return the files that determine the data, of both splits."""
        match self._layout():
            case "folders":
                return self._folders().files()
            case "parquet":
                return sorted({file for split in SPLITS for file in self._parquet_of(split)})
            case "saved":  # besides the data, `datasets` keeps results of its own operations there
                return [f for f in self.root.rglob("*") if f.is_file() and not f.name.startswith("cache-")]

    def _folders(self) -> ImageFolder:
        return ImageFolder(path=self.path, train_split=self.train_split, test_split=self.test_split)

    def _parquet_of(self, split: Split) -> list[Path]:
        """Return the parquet files of a split in their order."""
        if self.root.is_file():
            return [self.root] if split == "train" else []
        files = _parquet_in(self.root)
        found = ([f for f in files if f.stem == name or f.name.startswith(f"{name}-")] for name in self.names(split))
        return next(filter(None, found), [])

    def _from_parquet(self, split: Split) -> "tuple[datasets.Dataset, str]":
        import datasets
        import pyarrow

        files = self._parquet_of(split)
        if not files:
            raise self.missing(split, sorted({file.stem.partition("-")[0] for file in _parquet_in(self.root)}))
        try:
            if sum(file.stat().st_size for file in files) > READ_UP_TO:
                table = datasets.Dataset.from_parquet([str(file) for file in files])
            else:
                tables = [read_parquet(file, EXPANSION_FREE + EXPANSION * file.stat().st_size) for file in files]
                table = datasets.Dataset(pyarrow.concat_tables(tables))
        except (pyarrow.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
            told = " ".join(str(error.__cause__ or error).split())[:300]
            raise ValueError(f"The parquet files of {self.path} do not have the same columns ({told}).") from error
        return table, str(files[0]) if len(files) == 1 else f"{files[0]} and those that follow"

    def _from_saved(self, split: Split) -> "tuple[datasets.Dataset, str]":
        """Read what `Dataset.save_to_disk` (the train split) or `DatasetDict.save_to_disk` wrote."""
        import datasets

        place = self.root
        if (self.root / "dataset_dict.json").is_file():
            described = read_json(self.root / "dataset_dict.json", self.root)
            there = [str(name) for name in described.get("splits", ())] if isinstance(described, dict) else []
            name = next((name for name in self.names(split) if name in there), None)
            if name is None or not _is_plain(name):
                raise self.missing(split, there)
            place = self.root / name
        elif split != "train":
            raise self.missing(split)
        try:
            _check_own_files(place)
            return datasets.load_from_disk(str(place)), str(place)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{place} cannot be read as a data set written by `save_to_disk` ({error}).") from error

    def _from_hub(self, split: Split) -> "tuple[datasets.Dataset, str]":
        if self.repository is None:
            raise ValueError(
                "A data set in the Hugging Face format needs its place: data.path=FOLDER with what `save_to_disk` of "
                "`datasets` wrote or with parquet files, or data.source.repository=OWNER/NAME for one of the hub."
            )
        import datasets
        from datasets.exceptions import DatasetsError

        name = (self.train_split if split == "train" else self.test_split) or split
        try:
            table = datasets.load_dataset(self.repository, name=self.configuration, revision=self.revision, split=name)
        except (OSError, DatasetsError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(
                f"The {name} split of {self.repository} is not cached and cannot be had from the Hugging Face hub "
                f"({type(error).__name__}: {error}). Connect to the network, or download the parquet files of "
                f"https://huggingface.co/datasets/{self.repository} and say data.path=FOLDER with {self.expected}."
            ) from error
        return table, f"the {name} split of {self.repository}"


class HuggingFaceImages(HubImages):
    """Any data set in the Hugging Face format: what is not named is told by the data, and images are resized."""

    label = "huggingface"
    resizes = True


def _parquet_in(folder: Path) -> list[Path]:
    """Return the parquet files in a folder, or else in its folder `data`, where repositories of the hub have them."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


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


def open_table(
    table: "datasets.Dataset", image_column: str | None, label_column: LabelColumn, origin: str
) -> EncodedImages:
    """Open one split, whose columns are found where they are not named; `origin` is how errors name the table.

    Raises:
        ValueError: The table is empty, lacks a column, or a column holds something else.
    """
    images = _column(table, "image_column", image_column, origin)
    if targets := target_columns({field.name: field.type for field in table.features.arrow_schema}, label_column):
        return _open_targets(table, images, targets, origin)
    assert label_column is None or isinstance(label_column, str)
    labels = _column(table, "label_column", label_column, origin)
    if not len(table):
        raise ValueError(f"{origin} is empty. Expected at least one row.")
    columns = table.select_columns(sorted({images, labels})).with_format("arrow")[:]
    encoded, numbers = columns[images], columns[labels]
    if numbers.null_count:
        raise ValueError(
            f"Row {numbers.is_null().to_pylist().index(True)} of {origin} has no label in the column {labels!r}; "
            f"{numbers.null_count} rows have none. Label them or remove them."
        )
    names = getattr(table.features[labels], "names", None) or None
    told = None if names is None else tuple(printable(str(name))[:LONGEST_NAME] for name in names)
    is_numbered = told == tuple(map(str, range(len(names or ()))))
    return EncodedImages(
        torch.from_numpy(numbers.to_numpy().astype(np.int64)),
        lambda i: _open(encoded[i].as_py()),
        lambda i: f"row {i} of {origin}",
        None if told is None else len(told),
        None if is_numbered else told,
    )


def _open_targets(table: "datasets.Dataset", images: str, columns: Sequence[str], origin: str) -> EncodedImages:
    """Open one split whose targets are the numbers in columns."""
    kinds = [field.name for field in table.features.arrow_schema]
    if missing := [name for name in columns if name not in kinds]:
        found = f"found {', '.join(kinds)}. Name the right one"
        raise ValueError(f"Expected a column {missing[0]!r} in {origin}, {found}: data.source.label_column=[NAME,...]")
    if not len(table):
        raise ValueError(f"{origin} is empty. Expected at least one row.")
    rows = table.select_columns(sorted({images, *columns})).with_format("arrow")[:]
    targets, names = targets_of({name: rows[name] for name in columns}, origin)
    encoded = rows[images]
    return EncodedImages(
        targets, lambda i: _open(encoded[i].as_py()), lambda i: f"row {i} of {origin}", len(names), names
    )


def _column(table: "datasets.Dataset", option: str, name: str | None, origin: str) -> str:
    """Return the name of the column that is asked for, or of the only one whose declaration, or else type, suits."""
    import datasets
    from pyarrow import types

    kinds = {field.name: field.type for field in table.features.arrow_schema}
    declared, holds, what, mend = (
        (datasets.Image, _is_encoded, "images", "Name")
        if option == "image_column"
        else (datasets.ClassLabel, types.is_integer, "the classes as whole numbers", NUMBERED)
    )
    if name is None:
        said = [column for column, feature in table.features.items() if isinstance(feature, declared)]
        fitting = said or [column for column, kind in kinds.items() if holds(kind)]
        if len(fitting) == 1:
            return fitting[0]
        found = ", ".join(f"{column} ({feature})" for column, feature in list(table.features.items())[:20])
        raise ValueError(
            f"Which column of {origin} holds {what}? {' and '.join(fitting) or 'None of them'} may; it has "
            f"{printable(found)[:1000]}. Say it: data.source.{option}=..."
        )
    if name not in kinds:
        found = f"found {', '.join(kinds) or 'no columns'}. Name the right one"
        raise ValueError(f"Expected a column {name!r} in {origin}, {found}: data.source.{option}=...")
    if not holds(kinds[name]):
        raise ValueError(
            f"Expected {what} in the column {name!r} of {origin}, found {kinds[name]}. {mend} another column: "
            f"data.source.{option}=..."
        )
    return name


def _is_encoded(kind: "pyarrow.DataType") -> bool:
    """Return whether each row of an Arrow type holds either bytes or `{"bytes": ..., "path": ...}`."""
    from pyarrow import types

    is_image = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return is_image or types.is_binary(kind) or types.is_large_binary(kind)


def _open(value: bytes | dict[str, Any] | None) -> Image.Image:
    if isinstance(value, dict):
        value = value["bytes"] if value["bytes"] is not None else value.get("path")
    if value is None:
        raise ValueError("the row is empty")
    if isinstance(value, str):
        raise ValueError("it names a file in place of the image; write the images themselves into the table")
    return open_picture(io.BytesIO(value))
