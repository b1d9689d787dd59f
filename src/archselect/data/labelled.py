"""Labelled images: one split of a data set, decoded, as two tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabelledImages:
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

    def select(self, indices: Tensor) -> "LabelledImages":
        """Return the images at `indices` `(M,)`, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices])
