"""ImageNet in 8 to 64 pixels (Chrabaszcz, Loshchilov & Hutter, arXiv 1707.08819), as its authors publish it."""

import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from archselect.data.decode import EncodedImages
from archselect.data.sources import LocalSource, Split, digest, digest_of_files
from archselect.safe_io.files import EXPANSION, EXPANSION_FREE
from archselect.utils.validation import POSITIVE_INT

# What a damaged or encrypted archive raises, or one of another compression, depending on where it is damaged.
ARCHIVE_ERRORS = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, OverflowError, MemoryError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)

CONVERSION = (
    "Where you trust them: python -c \"import numpy, pickle, sys; [numpy.savez(f + '.npz', **pickle.load(open(f, "
    "'rb'))) for f in sys.argv[1:]]\" FILES"
)


@dataclass(frozen=True, kw_only=True)
class DownsampledImageNet(LocalSource):
    """Ten files `train_data_batch_1.npz` to `_10.npz` and `val_data.npz`, which is the test split, in one folder.

    Each holds `data`, `(N, 3 * size * size)` in uint8, channel by channel, and `labels` from 1 on. What is not
    compressed is not read: single images are, when they are asked for.

    Attributes:
        first_classes: Only images of so many classes, the first; None: of all 1,000. ImageNet16-120 of NAS-Bench-201
            (Dong & Yang, ICLR 2020) has the first 120.
    """

    CLASSES: ClassVar[int] = 1000
    NAMES: ClassVar[dict[Split, str]] = {"train": "train_data_batch_", "test": "val_data"}

    label = "downsampled_imagenet"
    expected = "train_data_batch_1.npz to train_data_batch_10.npz and val_data.npz"
    first_classes: int | None = None

    def __post_init__(self) -> None:
        if self.first_classes is not None:
            POSITIVE_INT.check("data.source.first_classes", self.first_classes)
            if self.first_classes > self.CLASSES:
                raise ValueError(
                    f"data.source.first_classes must be at most {self.CLASSES}, for there are no more; got "
                    f"{self.first_classes}."
                )

    def names(self, split: Split) -> tuple[str, ...]:
        return (self.NAMES[split],)

    def fingerprint(self) -> str:
        files = [file for split in self.NAMES for file in self._files(split)]
        return digest("downsampled", digest_of_files(self.root, files), self.first_classes)

    def open(self, split: Split) -> EncodedImages:
        files = self._files(split)
        parts = [self._read(file) for file in files]
        labels = torch.cat([torch.from_numpy(part[1]) for part in parts])
        rows = torch.arange(len(labels))
        if self.first_classes is not None:
            rows = (labels < self.first_classes).nonzero().flatten()
        starts = np.cumsum([0, *(len(part[1]) for part in parts)])
        wanted = rows.tolist()

        def place(number: int) -> tuple[int, int]:
            file = int(np.searchsorted(starts, wanted[number], side="right")) - 1
            return file, wanted[number] - int(starts[file])

        def image(number: int) -> NDArray[np.uint8]:
            file, row = place(number)
            pixels, size = parts[file][0][row], int((parts[file][0].shape[1] // 3) ** 0.5)
            return np.ascontiguousarray(pixels.reshape(3, size, size).transpose(1, 2, 0))

        def name(number: int) -> str:
            file, row = place(number)
            return f"row {row} of {files[file]}"

        return EncodedImages(labels[rows], image, name, self.first_classes or self.CLASSES)

    def _files(self, split: Split) -> list[Path]:
        """Return the files of a split in the order of their numbers."""
        root, name = self.root, self.NAMES[split]
        files = sorted(root.glob(f"{name}*.npz"), key=lambda file: (len(file.name), file.name))
        if not files and (pickles := sorted(file for file in root.glob(f"{name}*") if not file.suffix)):
            raise ValueError(
                f"{pickles[0]} is a pickle, which can run any program when it is read. Take the files .npz of the same "
                f"page, or convert them. {CONVERSION}"
            )
        if not files:
            raise self.missing(split)
        return files

    def _read(self, file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return images `(N, 3 * size * size)` and labels `(N,)` from 0 on; a ValueError says what is wrong."""
        try:
            with zipfile.ZipFile(file) as archive:
                pixels, labels = _array(archive, file, "data.npy"), _array(archive, file, "labels.npy")
        except ARCHIVE_ERRORS as error:
            raise ValueError(f"{file} cannot be read as a file .npz with data and labels ({error}).") from error
        size = int((pixels.shape[-1] // 3) ** 0.5) if pixels.ndim == 2 else 0
        if pixels.dtype != np.uint8 or not size or pixels.shape[1] != 3 * size * size:
            raise ValueError(
                f"Expected data of the shape (N, 3 * size * size) in uint8 in {file}, got {pixels.dtype} of the shape "
                f"{pixels.shape}."
            )
        if labels.shape != (len(pixels),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"Expected {len(pixels)} labels as whole numbers in {file}, got {labels.shape}.")
        labels = labels.astype(np.int64) - 1
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.CLASSES):
            raise ValueError(f"Expected labels from 1 to {self.CLASSES} in {file}, got {labels.min() + 1} or others.")
        return cast(NDArray[np.uint8], pixels), labels


def _array(archive: zipfile.ZipFile, file: Path, name: str) -> NDArray[np.generic]:
    """Return an array of a file .npz: mapped where it is stored as it is, read where it is compressed."""
    entry = archive.getinfo(name)
    if entry.file_size > EXPANSION_FREE + EXPANSION * file.stat().st_size:
        raise ValueError(f"{name} takes many times the size of the file, which may be made to exhaust this machine")
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, kind = read_header(stream)
        if kind.hasobject or in_columns:
            raise ValueError(f"{name} holds no plain numbers in rows")
        if entry.compress_type == zipfile.ZIP_STORED:
            with file.open("rb") as raw:
                raw.seek(entry.header_offset)
                header = struct.unpack("<4s5H3I2H", raw.read(30))
            start = entry.header_offset + 30 + header[-2] + header[-1] + stream.tell()
            return np.memmap(file, kind, "r", start, shape)
        return np.frombuffer(stream.read(), kind).reshape(shape)
