"""Images larger than memory: they stay encoded on disk and are decoded by threads, a few batches ahead of the training.

Which images a batch has, and how they are augmented, is what it is for images in memory (`data.loader`), to the last
bit: only the place changes where the pixels come from. Threads and not processes: Pillow decodes and scales without
Python's lock, so they do as many images per second, and there is nothing to start, to copy or to leave behind.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice, pairwise
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from archselect.data.augmentation import Augmentation, Normalisation, crop_and_flip
from archselect.data.decode import WORTH_A_PROGRESS_BAR, EncodedImages, ImageTensors, others_alike
from archselect.data.loader import Batch, Batches, DeviceLoader, Part
from archselect.data.pixels import BrokenImageError, PixelFormat
from archselect.distributed.launch import launched
from archselect.utils.memory import total_memory

Storage = Literal["auto", "memory", "stream"]
OnBroken = Literal["stop", "skip"]

STREAMED_ABOVE = 4 * 2**30
"""Bytes: of a split that takes more when it is decoded, or more than an eighth of the memory, `auto` streams images.

Cut into halves, padded and moved, they take up to three times as much for a while.
"""

KEPT_BELOW = 512 * 2**20
"""Bytes: streamed images that are read again and again in one order are kept decoded where they take less."""

AHEAD = 3
"""Batches that are decoded before they are asked for."""

CHUNK = 64
"""Images that a thread decodes at a time where all of them are read."""

T = TypeVar("T")


def is_streamed(storage: Storage, decoded: int) -> bool:
    """Return whether a split that takes so many bytes when it is decoded stays on disk."""
    return storage == "stream" or (storage == "auto" and decoded > min(STREAMED_ABOVE, total_memory() // 8))


def default_workers() -> int:
    """Return how many threads decode where nothing is said: one per processor, shared by the processes of a machine."""
    # macOS and Windows do not say which processors are a process's own.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    place = launched()
    return max(1, processors // (1 if place is None else place.local_world_size))


@dataclass(eq=False)
class BrokenImages:
    """What is done with images that cannot be decoded, and those that were met: each is told of once."""

    rule: OnBroken
    console: Console
    met: dict[str, str] = field(default_factory=dict)  # what is wrong with each, by name
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, error: BrokenImageError) -> None:
        """Count an image that another one stands for from now on; the error stops the run unless it is skipped."""
        if self.rule == "stop":
            raise BrokenImageError(
                f"{error} What was computed is kept: with the file as it was when the run began, the same command goes "
                "on. If it was like this then, data.on_broken=skip goes on without it."
            ) from error
        with self._lock:
            if name not in self.met:
                self.met[name] = str(error)
                words = f"{error} It is left out: the next image of its class, or with targets of all, stands for it"
                self.console.print(f"data       [bold]warning[/]: {escape(words)}.", highlight=False, soft_wrap=True)


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Images of one split that are read when they are asked for: the `rows` `(N,)` of what is stored.

    In place of a broken one stands the next image of its class, or, where there are targets, the next one with its own;
    after the last comes the first. What a batch has depends on the files, never on when they are read.
    """

    encoded: EncodedImages
    rows: Tensor
    form: PixelFormat
    broken: BrokenImages
    workers: int

    @cached_property
    def labels(self) -> Tensor:
        """Classes `(N,)`, int64, or targets `(N, D)`, float32."""
        return self.encoded.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def decoded_bytes(self) -> int:
        """How much memory all of them would take."""
        return len(self) * self.form.size**2 * self.form.channels

    def select(self, indices: Tensor) -> "StreamedImages":
        """Return the images at `indices` `(M,)`, in that order."""
        return replace(self, rows=self.rows[indices])

    def read(
        self, positions: Sequence[int], pixels: np.ndarray, crop_seeds: Sequence[int | None] | None = None
    ) -> list[int]:
        """Decode the images at `positions`, M, into `pixels` `(M, size, size, channels)`; return whose they are.

        With seeds these are random parts of them, as `data.pixels.random_box` says.

        Raises:
            BrokenImageError: One cannot be decoded, and none is to be skipped, or none that could stand for it can be.
        """
        seeds = [None] * len(positions) if crop_seeds is None else crop_seeds
        return [self._fill(*wanted) for wanted in zip(positions, pixels, seeds, strict=True)]

    def in_memory(self, description: str = "") -> ImageTensors:
        """Return all of them decoded; a progress bar with the description is shown when there are many."""
        pixels = np.empty((len(self), *self.form.shape), dtype=np.uint8)

        def fill(chunk: range) -> list[int]:
            return self.read(chunk, pixels[chunk.start : chunk.stop])

        whose = torch.tensor(list(chain.from_iterable(self._in_chunks(fill, description))))
        all_themselves = torch.equal(whose, torch.arange(len(self)))
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return ImageTensors(images, self.labels, None if all_themselves else whose)

    def pixel_counts(self, description: str) -> Tensor:
        """Read all images once and return how many pixels have each value in each channel, `(C, 256)`."""

        def count(chunk: range) -> Tensor:
            pixels = np.empty((len(chunk), *self.form.shape), dtype=np.uint8)
            self.read(chunk, pixels)
            return Normalisation.pixel_counts(torch.from_numpy(pixels).permute(0, 3, 1, 2))

        return sum(self._in_chunks(count, description), torch.zeros(self.form.channels, 256, dtype=torch.int64))

    def _in_chunks(self, function: Callable[[range], T], description: str) -> Iterator[T]:
        """Yield what a function returns of the positions of all images, some at a time, called by all workers."""
        console = self.broken.console
        quiet = not description or len(self) < WORTH_A_PROGRESS_BAR or console.is_jupyter
        options: dict[str, Any] = {"console": console, "transient": True, "disable": quiet}
        chunks = [range(start, min(start + CHUNK, len(self))) for start in range(0, len(self), CHUNK)]
        with ThreadPoolExecutor(self.workers, "decode") as pool:
            yield from track(pool.map(function, chunks), description, len(chunks), **options)

    def _fill(self, position: int, place: np.ndarray, crop_seed: int | None) -> int:
        """Decode an image, or the one that stands for it, into `place` and return which one it is."""
        others = others_alike(self.labels, position)
        while True:
            row = int(self.rows[position])
            try:
                place[:] = self.encoded.pixels(row, self.form, crop_seed)
                return position
            except BrokenImageError as error:
                self.broken.add(self.encoded.name(row), error)
                if (following := next(others, None)) is None:
                    raise BrokenImageError(f"{error} No other image of its class can be read.") from error
                position = following


Images = ImageTensors | StreamedImages


class _Decoding(NamedTuple):
    """A batch whose images are being decoded."""

    pixels: Tensor  # (B, H, W, C), uint8
    part: Part
    chunks: Sequence[Future[list[int]]]  # each returns whose pixels it has


class StreamLoader(Batches):
    """Batches of images on disk, decoded by threads a few batches ahead and augmented on the device.

    Arguments are those of `Batches`. Each batch is cut into as many parts as there are workers. On a GPU it is moved
    from page-locked memory while the device computes. The threads live as long as an iteration.
    """

    def __init__(self, images: StreamedImages, batch_size: int, device: torch.device | str, *args: Any, **options: Any):
        super().__init__(images.labels, images.form.shape[:2], batch_size, device, *args, **options)
        self._images, self._device = images, torch.device(device)

    def _read(self, parts: Iterator[Part]) -> Iterator[Batch]:
        pool = ThreadPoolExecutor(self._images.workers, "decode")
        try:
            ahead = deque(self._begin(pool, part) for part in islice(parts, AHEAD))
            while ahead:
                decoding = ahead.popleft()
                ahead.extend(self._begin(pool, part) for part in islice(parts, 1))
                yield self._moved(decoding)
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, part: Part) -> _Decoding:
        indices, draws, images = part[0].tolist(), part[1], self._images
        seeds = None if draws is None or self.augmentation is None else self.augmentation.crop_seeds(draws)
        shape = (len(indices), *images.form.shape)
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        ends = [len(indices) * worker // images.workers for worker in range(images.workers + 1)]
        spans = [slice(*span) for span in pairwise(ends) if span[0] < span[1]]
        array = pixels.numpy()
        wanted = ((indices[span], array[span], None if seeds is None else seeds[span]) for span in spans)
        return _Decoding(pixels, part, [pool.submit(images.read, *each) for each in wanted])

    def _moved(self, decoding: _Decoding) -> Batch:
        draws = decoding.part[1]
        whose = torch.tensor([position for chunk in decoding.chunks for position in chunk.result()])
        pixels = decoding.pixels.to(self._device, non_blocking=True)
        if draws is not None and self.augmentation is not None:
            numbers, draws = torch.arange(len(pixels), device=self._device), draws.to(self._device, non_blocking=True)
            pixels = crop_and_flip(self.augmentation.padded(pixels), numbers, draws, self._height, self._width)
        return self._normalised(pixels, draws), self._labels[whose].to(self._device, non_blocking=True)


def batches_of(
    images: Images,
    batch_size: int,
    device: torch.device | str,
    normalisation: Normalisation,
    rng_key: tuple[int | str, ...],
    augmentation: Augmentation | None = None,
    *,
    shuffle: bool = False,
) -> Batches:
    """Return batches of images in memory, or on disk; the other arguments are those of `Batches`.

    Images on disk that have one order for good are read again and again: they are decoded here where they are few.
    """
    options = (batch_size, device, normalisation, rng_key, augmentation, shuffle)
    if isinstance(images, StreamedImages) and not shuffle and images.decoded_bytes < KEPT_BELOW:
        images = images.in_memory()
    if isinstance(images, StreamedImages):
        return StreamLoader(images, *options)
    return DeviceLoader(images.images, images.shown_labels, *options)
