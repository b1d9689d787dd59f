"""Batches of images in an order that depends on purpose and epoch alone; of images that lie on the training device."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from archselect.data.augmentation import Augmentation, Normalisation, crop_and_flip, cutout_mask
from archselect.distributed.process_group import shard
from archselect.distributed.rng import generator_for

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W), normalised, channels_last; labels (B,) or targets (B, D)

Part = tuple[Tensor, Tensor | None]  # of a batch: which images (B,), and what happens to each of them (B, D), if any


class Batches(ABC):
    """The batches of one epoch: which images each of them has, and how these are augmented and normalised.

    Order and augmentation are those of the epoch last given to `set_epoch`, 0 at first, so iterating twice gives the
    same batches twice.

    No order is that of the images given: without shuffling it is one random permutation, the same in every epoch. Data
    sets often list their images class by class, and a network that normalises with the statistics of a batch answers
    nonsense to a batch of one class.

    Where batches are sharded (`archselect.distributed`), iterating gives this process's part of every batch; order and
    augmentation are those of the whole batches. A batch of which it has nothing is left out.

    The last batch is smaller where the batch size does not divide N. While shuffling, a last batch of a *single* image
    is left out, because batch normalisation cannot train on one value per channel; it is another image every epoch.

    Args:
        labels: Classes `(N,)`, int64, or targets `(N, D)`, float32.
        size: Height and width of the images.
        normalisation: Applied after crop, flip and changes of colour, before the cutout.
        rng_key: What the random numbers are for, e.g. `(seed, "search", "weights")`. Unshuffled batches of as many
            images, with the same key, have the same order.
        augmentation: None leaves the images as they are.
        shuffle: Whether each epoch has its own random order, rather than all the same.
        dtype: Of the batches' images.

    Raises:
        ValueError: The batch size is below 1 or above N, or a cutout is larger than an image.
    """

    def __init__(
        self,
        labels: Tensor,
        size: Sequence[int],
        batch_size: int,
        device: torch.device | str,
        normalisation: Normalisation,
        rng_key: tuple[int | str, ...],
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not 1 <= batch_size <= len(labels):
            raise ValueError(
                f"The batch size is {batch_size}, but the split has {len(labels)} images. "
                "Expected at least 1 and at most the size of the split: change the batch size or use more images."
            )
        self.batch_size, self.augmentation, self.rng_key = batch_size, augmentation, rng_key
        self.shuffle, self.dtype = shuffle, dtype
        self.epoch = 0
        self._skipped = 0
        self._height, self._width = size
        if augmentation is not None:
            augmentation.check(self._height, self._width)
        self._labels = labels
        self._scale, self._shift = (channels.to(device) for channels in normalisation.scale_and_shift())
        self._fixed_order = None if shuffle else self._permutation()

    @abstractmethod
    def _read(self, parts: Iterator[Part]) -> Iterator[Batch]:
        """Yield the images and labels of parts of batches."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and augmentation the next iteration takes."""
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        """Let the next iteration begin after so many batches: those that a run had made before it was cut off."""
        self._skipped = batches

    def __len__(self) -> int:
        full, rest = divmod(len(self._labels), self.batch_size)
        left_out = rest == 0 or (self.shuffle and rest == 1) or not range(rest)[shard().part(rest)]
        return full if left_out else full + 1

    def __iter__(self) -> Iterator[Batch]:
        return self.repetition(0)

    def repetition(self, number: int) -> Iterator[Batch]:
        """Iterate over the epoch once more, shuffled and augmented in another way for each `number` from 1 on.

        Number 0 is the epoch itself. The epoch is looked at when the first batch is asked for, not before: training
        loops make the iterator first and announce the epoch, for instance a resumed one, afterwards.
        """
        yield from self._read(self._parts(number))

    def _parts(self, number: int) -> Iterator[Part]:
        """Yield this process's part of each batch."""
        moment = (self.epoch, number) if number else (self.epoch,)
        order = self._permutation(*moment) if self._fixed_order is None else self._fixed_order
        draws, own_shard = self._draws(*moment), shard()
        first, self._skipped = self._skipped, 0
        for start in range(first * self.batch_size, len(self) * self.batch_size, self.batch_size):
            indices = order[start : start + self.batch_size]
            own = own_shard.part(len(indices))
            yield indices[own], None if draws is None else draws[start : start + self.batch_size][own]

    def _permutation(self, *moment: int) -> Tensor:
        generator = generator_for(*self.rng_key, "order", *moment)
        return torch.randperm(len(self._labels), generator=generator).to(self._labels.device)

    def _draws(self, *moment: int) -> Tensor | None:
        if self.augmentation is None:
            return None
        generator = generator_for(*self.rng_key, "augmentation", *moment)
        draws = self.augmentation.draw(len(self._labels), self._height, self._width, generator)
        return draws.to(self._labels.device)

    def _normalised(self, pixels: Tensor, draws: Tensor | None) -> Tensor:
        """Return images `(B, C, H, W)` of cropped and flipped pixels `(B, H, W, C)` on the device."""
        values, augmentation = pixels.float(), self.augmentation
        if draws is not None and augmentation is not None:
            values = augmentation.jittered(values, draws)
        images = torch.addcmul(self._shift, values, self._scale)  # (B, H, W, C)
        if draws is not None and augmentation is not None and augmentation.cutout:
            images.masked_fill_(cutout_mask(draws, augmentation.cutout, self._height, self._width), 0)
        return images.permute(0, 3, 1, 2).to(self.dtype)


class DeviceLoader(Batches):
    """Batches of images that are moved to the device once, and nothing is read back from it.

    The images take `N * (H + 2 pad) * (W + 2 pad) * C` bytes there. Arguments are those of `Batches`, but for the
    images `(N, C, H, W)` in uint8.

    Raises:
        ValueError: As of `Batches`, or the crops are to be resized, which are cut out while an image is decoded.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        device: torch.device | str,
        normalisation: Normalisation,
        rng_key: tuple[int | str, ...],
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            labels.to(device),
            images.shape[2:],
            batch_size,
            device,
            normalisation,
            rng_key,
            augmentation,
            shuffle,
            dtype,
        )
        if augmentation is not None and augmentation.crop == "resized":
            raise ValueError(
                "A random resized crop is cut out of the image at its own size, while it is decoded, but these images "
                "are decoded. Use a StreamLoader (data.storage=stream), or Augmentation(crop='padded')."
            )
        pixels = images.to(device).permute(0, 2, 3, 1)
        if augmentation is not None:
            pixels = augmentation.padded(pixels)
        self._pixels = pixels.contiguous()  # (N, H + 2 pad, W + 2 pad, C)

    def _read(self, parts: Iterator[Part]) -> Iterator[Batch]:
        for indices, draws in parts:
            if draws is None:
                pixels = self._pixels.index_select(0, indices)
            else:
                pixels = crop_and_flip(self._pixels, indices, draws, self._height, self._width)
            yield self._normalised(pixels, draws), self._labels[indices]


class BilevelBatch(NamedTuple):
    """The two batches of a bilevel step, which share no image."""

    weights: Batch
    architecture: Batch


class BilevelBatches:
    """Pairs of a batch for the weights and a batch for the architecture parameters, for one epoch of bilevel training.

    One epoch is one pass over the weight batches. The others start again, in a new order, as often as needed.

    Raises:
        ValueError: Both are shuffled with the same `rng_key`: the same images would meet in every epoch.
    """

    def __init__(self, weight_batches: Batches, architecture_batches: Batches) -> None:
        both_shuffle = weight_batches.shuffle and architecture_batches.shuffle
        if both_shuffle and weight_batches.rng_key == architecture_batches.rng_key:
            raise ValueError(
                "Weight and architecture batches are both shuffled for the purpose "
                f"{weight_batches.rng_key}, which gives them the same order. Give each a purpose of its own."
            )
        self.weight_batches, self.architecture_batches = weight_batches, architecture_batches
        self._repetitions = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of both."""
        self.weight_batches.set_epoch(epoch)
        self.architecture_batches.set_epoch(epoch)

    def skip(self, batches: int) -> None:
        """Let the next iteration begin after so many pairs: see `Batches.skip`."""
        self.weight_batches.skip(batches)
        self._repetitions, rest = divmod(batches, len(self.architecture_batches))
        self.architecture_batches.skip(rest)

    def __len__(self) -> int:
        return len(self.weight_batches)

    def __iter__(self) -> Iterator[BilevelBatch]:
        repetitions = map(self.architecture_batches.repetition, self._numbers())
        return map(BilevelBatch, self.weight_batches, itertools.chain.from_iterable(repetitions))

    def _numbers(self) -> Iterator[int]:
        """Yield the numbers of the repetitions from the one that was not finished; looked at with the first batch."""
        first, self._repetitions = self._repetitions, 0
        yield from itertools.count(first)
