"""The images that a network is asked about: those of a folder, or the test images of its run, with what is true."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archselect.data.decode import EncodedImages
from archselect.data.image_data import ImageData
from archselect.data.pixels import BrokenImageError, PixelFormat
from archselect.data.sources import ENDINGS, images_below, open_image
from archselect.data.stream import OnBroken, default_workers
from archselect.safe_io.files import JSON_BYTES, printable, read_text

Target = Tensor
"""What is true of an image: the number of its class, or a row of labels or numbers."""


@dataclass(frozen=True)
class Asked:
    """Images by name, undecoded, and what is true of each, if that is known.

    Attributes:
        encoded: The images.
        names: Of each, as tables show it.
        targets: Of each; None: nothing is known.
    """

    encoded: EncodedImages
    names: Sequence[str]
    targets: Sequence[Target] | None

    def __len__(self) -> int:
        return len(self.names)


def test_split(data: ImageData) -> Asked:
    """Return the test images of a run's data."""
    encoded = data.source.open("test")
    return Asked(encoded, [encoded.name(row) for row in range(len(encoded))], list(encoded.labels))


def of_folder(place: Path) -> tuple[Asked, list[Path]]:
    """Return the image at a place or the images in it and in folders below it, and where each lies.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: There is no image.
    """
    if not place.exists():
        raise FileNotFoundError(f"images is {place}, which does not exist. Name a folder of images, or images=test.")
    files = [place] if place.is_file() else images_below(place)[0]
    if not files:
        raise ValueError(f"{place} has no images. Expected files with one of the endings {ENDINGS}.")
    root = place.parent if place.is_file() else place

    labels = torch.zeros(len(files), dtype=torch.int64)  # not known
    encoded = EncodedImages(labels, lambda row: open_image(files[row]), lambda row: str(files[row]))
    relative = [file.relative_to(root) for file in files]
    return Asked(encoded, [printable(file.as_posix()) for file in relative], None), relative


def by_folders(files: Sequence[Path], classes: Sequence[str]) -> list[Target] | None:
    """Return the classes of images by their outermost folders, which have these names; None: not all do."""
    numbers = {name: number for number, name in enumerate(classes)}
    found = [numbers.get(file.parts[0]) if len(file.parts) > 1 else None for file in files]
    return None if None in found else [torch.tensor(number) for number in found]


def by_table(path: Path, names: Sequence[str], read: Callable[[dict[str, str]], Target]) -> list[Target]:
    """Return what a CSV file with the column `file` says of the images of these names.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such table, or says nothing of an image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"labels is {path}, which is no file. Name a CSV file with the column file.")
    rows = list(csv.DictReader(io.StringIO(read_text(path, path.parent, JSON_BYTES))))
    if not rows or "file" not in rows[0]:
        raise ValueError(f"{path} has no column file, which names the images as predictions.csv does. Add it.")
    told = {row["file"]: row for row in rows}
    if missing := [name for name in names if name not in told]:
        raise ValueError(
            f"{path} has no row for {missing[0]}, nor for {len(missing) - 1} others of the {len(names)} images. Its "
            "column file names them relative to images."
        )
    try:
        return [read(told[name]) for name in names]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decoded(
    asked: Asked, form: PixelFormat, batch_size: int, on_broken: OnBroken, broken: dict[str, str]
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the rows of some images and their pixels `(B, C, H, W)`, uint8, decoded by threads.

    Args:
        asked: The images.
        form: What they are decoded into.
        batch_size: How many at a time.
        on_broken: What is done where one cannot be decoded.
        broken: Where it is written down what is wrong with each, by name.

    Raises:
        ValueError: An image cannot be decoded and none is to be skipped, or is not as those of the training.
    """

    def pixels(row: int) -> NDArray[np.uint8] | None:
        try:
            return asked.encoded.pixels(row, form)
        except BrokenImageError as error:
            if on_broken == "stop":
                raise ValueError(f"{error} With on_broken=skip the others are predicted without it.") from error
            broken[asked.names[row]] = str(error)
            return None
        except ValueError as error:
            raise ValueError(
                f"{asked.names[row]} is not like the images that the network was trained on, which have {form.size} x "
                f"{form.size} pixels and {form.channels} channels: {str(error).split('. ')[0]}. With resize=true "
                "pictures are scaled, cropped and converted."
            ) from error

    with ThreadPoolExecutor(default_workers(), "decode") as pool:
        for start in range(0, len(asked), batch_size):
            rows = range(start, min(start + batch_size, len(asked)))
            found = [(row, one) for row, one in zip(rows, pool.map(pixels, rows), strict=True) if one is not None]
            if found:
                stacked = torch.from_numpy(np.stack([one for _, one in found]))
                yield [row for row, _ in found], stacked.permute(0, 3, 1, 2)
