"""Images as they are stored, in the columns of a table of `datasets`, and their decoding into one tensor."""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch import Tensor

from archselect.safe_io.data_files import open_picture
from archselect.safe_io.files import printable


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Images `(N, 3, H, W)` in uint8 with their labels `(N,)` in int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(
                f"Expected images of shape (N, 3, H, W) in uint8, got "
                f"{tuple(self.images.shape)} in {self.images.dtype}."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"Expected one int64 label for each of the {len(self.images)} images, "
                f"got labels of shape {tuple(self.labels.shape)} in {self.labels.dtype}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "ImageTensors":
        """Return the images at `indices` `(M,)`, in that order."""
        return ImageTensors(self.images[indices], self.labels[indices])


WORTH_A_PROGRESS_BAR = 5_000  # images; fewer are decoded in half a second
# What Pillow raises for broken files, depending on their format and on what is broken.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


# What undoes each EXIF orientation (CIPA DC-008-2023, tag 274); 1 and whatever is none of these ask for nothing.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """One split before decoding.

    Attributes:
        labels: `(N,)`, int64.
        open: opens image i; its pixels may be decoded later.
        name: how an error names image i, e.g. "row 3 of train.parquet".
        classes: number of classes, where the storage tells.
        class_names: names of the classes, where the storage tells.
        unread: what lies beside the images and is not read, as a sentence; empty: nothing.
    """

    labels: Tensor
    open: Callable[[int], Image.Image]
    name: Callable[[int], str]
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    unread: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def check_labels(self, classes: int) -> None:
        """Refuse labels outside of 0 to `classes` - 1, and a storage that has another number of classes.

        Raises:
            ValueError: naming the first such image.
        """
        if self.classes is not None and self.classes != classes:
            raise ValueError(
                f"Expected {classes} classes, as the configuration says, but the data have {self.classes}. "
                "Change data.classes, or take other data."
            )
        outside = ((self.labels < 0) | (self.labels >= classes)).nonzero()
        if len(outside):
            row = int(outside[0])
            raise ValueError(
                f"Expected labels from 0 to {classes - 1}, because data.classes is {classes}, "
                f"but {self.name(row)} has the label {int(self.labels[row])}; {len(outside)} labels are outside."
            )

    def decode(self, indices: Tensor, size: int, resize: bool, description: str, console: Console) -> ImageTensors:
        """Decode the images at `indices` `(M,)` into `(M, 3, size, size)`; grey images become three equal channels.

        Args:
            size: pixels of height and width.
            resize: whether an image of another size is scaled and cropped around its centre to `size`; otherwise it is
                an error.
            description: of the progress bar, which is shown when there are many images.

        Raises:
            ValueError: naming the image that cannot be decoded or has another size.
        """
        rows: list[int] = indices.tolist()
        pixels = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        progress = track(
            enumerate(rows),
            description,
            total=len(rows),
            console=console,
            transient=True,
            disable=len(rows) < WORTH_A_PROGRESS_BAR or console.is_jupyter,  # where a bar asks for ipywidgets
        )
        for position, row in progress:
            pixels[position] = self._decoded(row, size, resize)
        return ImageTensors(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.labels[indices])

    def size_of(self, row: int) -> int:
        """Return the pixels of height and width of one image; only one that is not square is decoded.

        Raises:
            ValueError: when they differ.
        """
        with self._opened(row) as image:
            width, height = image.size
            if width != height:  # what an error says is the size that is looked at, not the one that is stored
                width, height = self._converted(image, row).size
        if width != height:
            raise ValueError(
                f"Expected square images, but {self.name(row)} is {height} pixels high and {width} wide. "
                "Set data.image_size to the size that all of them are scaled and cropped to."
            )
        return height

    def _opened(self, row: int) -> Image.Image:
        try:
            return self.open(row)
        except PILLOW_ERRORS as error:
            why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(
                f"{self.name(row)} is not an image that can be read ({why}). Replace or remove it."
            ) from error

    def _decoded(self, row: int, size: int, resize: bool) -> np.ndarray:
        """Return the pixels `(size, size, 3)` of one image."""
        with self._opened(row) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(
                    f"Expected 8 bits per channel, but {self.name(row)} has the mode {image.mode}. Convert the images."
                )
            colours = self._converted(image, row)
        if colours.size != (size, size) and not resize:
            raise ValueError(
                f"Expected images of {size} x {size} pixels, but {self.name(row)} is {colours.height} pixels high "
                f"and {colours.width} wide. Set data.image_size to the size of the images; data=image_folder and "
                "data=huggingface then scale and crop those of another size."
            )
        if colours.size != (size, size):
            colours = ImageOps.fit(colours, (size, size), Image.Resampling.BILINEAR)
        return np.asarray(colours)

    def _converted(self, image: Image.Image, row: int) -> Image.Image:
        """Return one image in RGB, the way up that it is looked at."""
        try:
            return upright(image).convert("RGB")
        except PILLOW_ERRORS as error:
            raise ValueError(
                f"{self.name(row)} is an image that cannot be decoded ({error}). Replace or remove it."
            ) from error


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned and mirrored as its EXIF orientation asks for, as a viewer shows it.

    EXIF that is damaged asks for nothing. It is read after the pixels, because Pillow turns a TIFF while it loads it,
    and takes the mark off.
    """
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except PILLOW_ERRORS:
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


if TYPE_CHECKING:
    import datasets

LONGEST_NAME = 100  # characters of a class's name that are kept


def open_table(
    table: "datasets.Dataset", image_column: str | None, label_column: str | None, origin: str
) -> EncodedImages:
    """Open one split.

    Args:
        table: has encoded images (PNG, JPEG, ...) in one column and whole numbers in another.
        image_column: `None` for the only column that holds images.
        label_column: `None` for the only column that holds classes, or else whole numbers.
        origin: how errors name the table.

    Raises:
        ValueError: when the table is empty, lacks a column or a column holds something else.
    """
    image_column = _column(table, "image_column", image_column, origin)
    label_column = _column(table, "label_column", label_column, origin)
    if not len(table):
        raise ValueError(f"{origin} is empty. Expected at least one row.")
    columns = table.select_columns(sorted({image_column, label_column})).with_format("arrow")[:]
    labels = _labels(columns[label_column], label_column, origin)
    encoded = _encoded(columns[image_column], image_column, origin)
    names = _class_names(table.features[label_column])
    count = None if names is None else len(names)
    is_numbered = names == tuple(map(str, range(count or 0)))
    return EncodedImages(
        labels,
        lambda i: _open(encoded[i].as_py()),
        lambda i: f"row {i} of {origin}",
        count,
        None if is_numbered else names,
    )


def _column(table: "datasets.Dataset", option: str, name: str | None, origin: str) -> str:
    """Return the name of a column that is there."""
    columns = table.column_names
    if name is not None:
        if name in columns:
            return name
        raise ValueError(
            f"Expected a column {name!r} in {origin}, found {', '.join(columns) or 'no columns'}. "
            f"Name the right one: data.source.{option}=..."
        )
    fitting = _images(table.features) if option == "image_column" else _classes(table.features)
    if len(fitting) == 1:
        return fitting[0]
    what = "images" if option == "image_column" else "the classes"
    found = ", ".join(f"{column} ({feature})" for column, feature in list(table.features.items())[:20])
    raise ValueError(
        f"Which column of {origin} holds {what}? {' and '.join(fitting) or 'None of them'} may; it has "
        f"{printable(found)[:1000]}. Say it: data.source.{option}=..."
    )


def _images(features: Mapping[str, Any]) -> list[str]:
    """Return the columns that are said to hold images, or else those that may."""
    import datasets

    said = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    return said or [
        name
        for name, feature in features.items()
        if getattr(feature, "dtype", None) in ("binary", "large_binary")
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    ]


def _classes(features: Mapping[str, Any]) -> list[str]:
    """Return the columns that are said to hold classes, or else those with whole numbers."""
    import datasets

    said = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return said or [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Value) and feature.dtype.lstrip("u").startswith("int")
    ]


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Return the names of the classes, where the column has them."""
    import datasets

    if not isinstance(feature, datasets.ClassLabel) or not feature.names:
        return None
    return tuple(printable(str(name))[:LONGEST_NAME] for name in feature.names)


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
    """Return the Arrow column with, in each row, either bytes or `{"bytes": ..., "path": ...}`."""
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
