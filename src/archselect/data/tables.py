"""Data sets as tables of `datasets`: parquet files, saved sets, and the columns that hold images and labels."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.decode import EncodedImages
from archselect.data.local_files import SPLITS, LocalImages, Split
from archselect.safe_io.data_files import open_picture, read_parquet
from archselect.safe_io.files import EXPANSION, EXPANSION_FREE, printable, read_json

if TYPE_CHECKING:  # it takes a second, which other data should not cost
    import datasets

LONGEST_NAME = 100  # characters of a class's name that are kept


class ParquetFiles(LocalImages):
    """`train.parquet` and `test.parquet` (or `train-*.parquet` ...) in a folder, or one file: the train split.

    Where there are none in the folder itself, those in its folder `data` are read, as in repositories of the hub.
    """

    def splits(self) -> list[str]:
        """Return the names of the splits that are there: those of the files up to the first `-`."""
        return sorted({file.stem.partition("-")[0] for file in self._all()})

    def files(self) -> list[Path]:
        return sorted({file for split in SPLITS for file in self._of(split)})

    def open(self, split: Split) -> EncodedImages:
        import datasets  # takes a second, as pyarrow does, which sets without tables should not cost
        import pyarrow

        files = self._of(split)
        if not files:
            there = [] if self.path.is_file() else self.splits()
            raise self.missing(split, f"{self.names(split)[0]}.parquet", there)
        tables = [read_parquet(file, EXPANSION_FREE + EXPANSION * file.stat().st_size) for file in files]
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
        for name in self.names(split):
            if found := [file for file in self._all() if file.stem == name or file.name.startswith(f"{name}-")]:
                return found
        return []


class SavedDataset(LocalImages):
    """A folder written by `Dataset.save_to_disk` (the train split) or `DatasetDict.save_to_disk`."""

    def files(self) -> list[Path]:
        # Besides the data, `datasets` keeps results of its own operations there.
        return sorted(f for f in self.path.rglob("*") if f.is_file() and not f.name.startswith("cache-"))

    def open(self, split: Split) -> EncodedImages:
        import datasets

        name = self._name(split)
        place = self.path if name is None else self.path / name
        try:
            _check_own_files(place)
            table = datasets.load_from_disk(str(place))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{self.path} cannot be read as a data set written by `save_to_disk` ({error})."
            ) from error
        return open_table(table, self.image_column, self.label_column, f"the {name or split} split of {self.path}")

    def _name(self, split: Split) -> str | None:
        """Return the name of a split, which is that of its folder; None: the data set is a single split."""
        if not (self.path / "dataset_dict.json").is_file():
            if split == "train":
                return None
            raise self.missing(split, f"a {split} split")
        described = read_json(self.path / "dataset_dict.json", self.path)
        there = [str(name) for name in described.get("splits", ())] if isinstance(described, dict) else []
        name = next((name for name in self.names(split) if name in there), None)
        if name is None or not _is_plain(name):
            raise self.missing(split, f"a {self.names(split)[0]} split", there)
        return name


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
    table: "datasets.Dataset", image_column: str | None, label_column: str | None, origin: str
) -> EncodedImages:
    """Open one split.

    Args:
        table: Has encoded images (PNG, JPEG, ...) in one column and whole numbers in another.
        image_column: None: the only column that holds images.
        label_column: None: the only column that holds classes, or else whole numbers.
        origin: How errors name the table.

    Raises:
        ValueError: The table is empty, lacks a column, or a column holds something else.
    """
    import datasets

    images = _column(table, "image_column", image_column, origin)
    labels = _column(table, "label_column", label_column, origin)
    if not len(table):
        raise ValueError(f"{origin} is empty. Expected at least one row.")
    columns = table.select_columns(sorted({images, labels})).with_format("arrow")[:]
    numbers, encoded = _labels(columns[labels], labels, origin), _encoded(columns[images], images, origin)
    named = table.features[labels]
    names = named.names if isinstance(named, datasets.ClassLabel) else None
    told = None if not names else tuple(printable(str(name))[:LONGEST_NAME] for name in names)
    is_numbered = told == tuple(map(str, range(len(names or ()))))
    return EncodedImages(
        numbers,
        lambda i: _open(encoded[i].as_py()),
        lambda i: f"row {i} of {origin}",
        None if told is None else len(told),
        None if is_numbered else told,
    )


def _column(table: "datasets.Dataset", option: str, name: str | None, origin: str) -> str:
    """Return the name of the column that is asked for, or of the only one that suits."""
    if name in table.column_names:
        return str(name)
    if name is not None:
        raise ValueError(
            f"Expected a column {name!r} in {origin}, found {', '.join(table.column_names) or 'no columns'}. "
            f"Name the right one: data.source.{option}=..."
        )
    fitting = _fitting(table.features, option)
    if len(fitting) == 1:
        return fitting[0]
    what = "images" if option == "image_column" else "the classes"
    found = ", ".join(f"{column} ({feature})" for column, feature in list(table.features.items())[:20])
    raise ValueError(
        f"Which column of {origin} holds {what}? {' and '.join(fitting) or 'None of them'} may; it has "
        f"{printable(found)[:1000]}. Say it: data.source.{option}=..."
    )


def _fitting(features: "datasets.Features", option: str) -> list[str]:
    """Return the columns that are declared to hold images or classes, or else those whose type may."""
    import datasets

    declared = datasets.Image if option == "image_column" else datasets.ClassLabel
    may_hold = _may_hold_images if option == "image_column" else _is_whole
    said = [name for name, feature in features.items() if isinstance(feature, declared)]
    return said or [name for name, feature in features.items() if may_hold(feature)]


def _may_hold_images(feature: Any) -> bool:
    is_struct = isinstance(feature, dict) and set(feature) == {"bytes", "path"}
    return is_struct or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _is_whole(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.Value) and feature.dtype.lstrip("u").startswith("int")


def _labels(column: Any, name: str, origin: str) -> Tensor:
    """Return the labels `(N,)` of an Arrow column."""
    from pyarrow import types

    if not types.is_integer(column.type):
        raise ValueError(
            f"Expected whole numbers in the column {name!r} of {origin}, found {column.type}. "
            f"Number the classes from 0 (class_encode_column({name!r}) of `datasets` does), or name another column: "
            "data.source.label_column=..."
        )
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(
            f"Row {row} of {origin} has no label in the column {name!r}; {column.null_count} rows have none. "
            "Label them or remove them."
        )
    return torch.from_numpy(column.to_numpy().astype(np.int64))


def _encoded(column: Any, name: str, origin: str) -> Any:
    """Return the Arrow column if each row holds either bytes or `{"bytes": ..., "path": ...}`."""
    from pyarrow import types

    kind = column.type
    is_image = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not (is_image or types.is_binary(kind) or types.is_large_binary(kind)):
        raise ValueError(
            f"Expected encoded images in the column {name!r} of {origin}, found {kind}. "
            "Name another column: data.source.image_column=..."
        )
    return column


def _open(value: bytes | dict[str, Any] | None) -> Image.Image:
    if isinstance(value, dict):
        value = value["bytes"] if value["bytes"] is not None else value.get("path")
    if value is None:
        raise ValueError("the row is empty")
    if isinstance(value, str):
        raise ValueError("it names a file in place of the image; write the images themselves into the table")
    return open_picture(io.BytesIO(value))
