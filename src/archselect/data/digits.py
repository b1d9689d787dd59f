"""scikit-learn's digits: 1,797 real images of 8 x 8 pixels that come with a dependency."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archselect.data.fingerprint import digest
from archselect.data.local import Split
from archselect.data.splits import stratified_split
from archselect.data.stored import StoredImages
from archselect.randomness import generator_for

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

    def open(self, split: Split) -> StoredImages:
        pixels, labels = _digits()
        train, test = stratified_split(labels, TRAIN_SHARE, generator_for("digits", "train and test"))
        rows = (train if split == "train" else test).tolist()
        return StoredImages(
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
