"""A data set as the configuration group `data` describes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console
from torch import Tensor

from archselect.data.augmentation import Augmentation, Crop, Normalisation
from archselect.data.color_jitter import ColorJitter
from archselect.data.decode import EncodedImages
from archselect.data.pixels import PixelFormat
from archselect.data.sources import Source, Split, digest
from archselect.data.splits import stratified_subset
from archselect.data.stream import BrokenImages, Images, OnBroken, Storage, StreamedImages, default_workers, is_streamed
from archselect.distributed.rng import generator_for
from archselect.store.redact_paths import expand
from archselect.utils.validation import FRACTION_OR_ONE, POSITIVE_INT, one_of

OWN_CHOICE = (
    "Another data set is data=huggingface data.path=FOLDER (or data.source.repository=OWNER/NAME), with "
    "data.source.image_column=... data.source.label_column=... data.source.train_split=... data.source.test_split=... "
    "where the data do not tell."
)


class ImageData:
    """Images with labels, decoded when they are asked for and remembered.

    Nothing is decoded to know all but images; `test` is read when it is asked for, never before. The options are those
    of configs/data: what is None the source tells, or is measured.

    Args:
        channels: Pictures are converted to 1 (grey), 3 (colour) or 4 (colour and opacity); None: to 1 where they are
            stored in grey, and else to 3. Arrays have what they have.
        train_subset: So many images are drawn once and for all, with every class's share kept.
        published: What options of `source` must be for name, statistics and classes to be those of the data set of that
            name; where the data name their classes, these have to be `class_names`. None: nothing is checked.
        storage: Whether images are kept decoded in memory or stay on disk: see `data.stream`.
        workers: How many threads decode images that stay on disk; None: one per processor.
        on_broken: What is done with an image on disk that cannot be decoded.
        crop: What is cropped to train on: images padded by `pad`, or, `resized`, random parts of images of their own
            size, which stay on disk for it.
        color_jitter: The fields of a `ColorJitter`.
        center_crop: How much of the shorter side is looked at of images that are scaled.
        console: Where progress is shown; None: standard error.

    Attributes:
        broken: The images on disk that could not be decoded, as far as they were met.
        notes: What a user should know of the images that were opened so far, a sentence each, without a full stop.

    Raises:
        ValueError: A number makes no sense, or the source is another than is `published`.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        classes: int | None,
        image_size: int | None,
        pad: int,
        flip: bool,
        train_subset: int | None,
        path: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        published: Mapping[str, Any] | None = None,
        channels: int | None = 3,
        storage: Storage = "auto",
        workers: int | None = None,
        on_broken: OnBroken = "stop",
        crop: Crop = "padded",
        color_jitter: Mapping[str, float] | None = None,
        center_crop: float = 1.0,
        console: Console | None = None,
    ) -> None:
        numbers = {"classes": classes, "image_size": image_size, "channels": channels, "train_subset": train_subset}
        _check_options({**numbers, "workers": workers}, storage, on_broken, center_crop)
        _check_source(name, source, published or {})
        # What is given is checked now, in place of what is measured later a number that is right.
        Normalisation(_like(std, 0) if mean is None else mean, _like(mean, 1) if std is None else std)
        self.name = name
        self.source = source if path is None else source.at(Path(expand(str(path))))
        self.train_subset = train_subset
        self.notes: list[str] = []
        self.is_measured = mean is None or std is None
        self._mean, self._std = mean, std
        self._classes, self._image_size, self._channels = classes, image_size, channels
        self._class_names = None if class_names is None else tuple(map(str, class_names))
        self._published = self._class_names if published else None
        jitter = None if color_jitter is None else ColorJitter.of(color_jitter)
        self._augmentation = Augmentation(0 if crop == "resized" else pad, flip, crop=crop, color_jitter=jitter)
        self.center_crop = center_crop
        self._console = console or Console(stderr=True)
        self.storage, self.workers = storage, workers or default_workers()
        self.broken = BrokenImages(on_broken, self._console)
        self._check_crop_and_colours()
        self._stored: dict[Split, EncodedImages] = {}

    @property
    def label(self) -> str:
        """The name in stages' folders: that of the choice where the name follows from where the data lie."""
        return self.source.label or self.name

    @cached_property
    def classes(self) -> int:
        """As many as are configured, are named, or have a number among the training images; or so many are the targets.

        Raises:
            ValueError: The numbers leave one out, so that they may be something else.
        """
        if self._classes is not None:
            return self._classes
        named, _, labels = self._told
        if named is None and labels != list(range(len(labels))):
            raise ValueError(
                f"Expected labels from 0 on without a gap where classes have no names, but the training images have "
                f"the labels {', '.join(map(str, labels[:8]))}{', ...' if len(labels) > 8 else ''}. Number the classes "
                "from 0, name another column by data.source.label_column=..., or set data.classes."
            )
        return len(labels) if named is None else named

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """In the order of their numbers; the numbers where nothing tells names."""
        names = self._told[1] if self._class_names is None else self._class_names
        return tuple(map(str, range(self.classes))) if names is None or len(names) != self.classes else names

    @cached_property
    def image_size(self) -> int:
        """Height and width in pixels, as configured or of the first image."""
        return self._encoded("train").size(self._skips) if self._image_size is None else self._image_size

    @property
    def _skips(self) -> bool:
        return self.broken.rule == "skip"

    @cached_property
    def channels(self) -> int:
        """Of the images, as configured or as they are stored.

        Raises:
            ValueError: There are other numbers of `mean` or `std`, which are not all the same.
        """
        channels = self._encoded("train").channels(self._skips) if self._channels is None else self._channels
        for option, values in (("mean", self._mean), ("std", self._std)):
            if values is not None and len(values) != channels and len({*values}) > 1:
                raise ValueError(
                    f"Expected as many numbers in data.{option} as the images have channels, {channels}, got "
                    f"{list(values)}. Give {channels}, or data.{option}=null to have them measured."
                )
        return channels

    @cached_property
    def pixel_format(self) -> PixelFormat:
        """What images are decoded into."""
        return self.format_for(self.image_size, self.channels)

    def format_for(self, size: int, channels: int) -> PixelFormat:
        """Return what images are decoded into for a network of this size and of so many channels."""
        resize = self.source.resizes and self._image_size is not None
        return PixelFormat(size, channels, resize, self._channels is not None, self.center_crop)

    @cached_property
    def _told(self) -> tuple[int | None, tuple[str, ...] | None, list[int]]:
        """Number and names of the classes, where the training images tell, and which labels they have."""
        train = self._encoded("train")
        return train.classes, train.class_names, [] if train.labels.dim() > 1 else train.labels.unique().tolist()

    @cached_property
    def normalisation(self) -> Normalisation:
        """Measured on `train` where it is not given; equal numbers hold for however many channels there are."""
        mean, std = (
            [values[0]] * self.channels if values is not None and len({*values}) == 1 else values
            for values in (self._mean, self._std)
        )
        if mean is None or std is None:
            return Normalisation.measured(self._pixel_counts(), mean, std)
        return Normalisation(mean, std)

    def augmentation(self, cutout: int = 0) -> Augmentation:
        """Return the crop and flip that suit these images; a ValueError refuses a cutout larger than an image."""
        augmentation = replace(self._augmentation, cutout=cutout)
        augmentation.check(self.image_size, self.image_size)
        return augmentation

    @cached_property
    def train(self) -> Images:
        """The train split, or the subset of it."""
        return self._load("train", self.train_subset)

    @cached_property
    def test(self) -> Images:
        """The test split, always whole."""
        return self._load("test", None)

    @cached_property
    def train_labels(self) -> Tensor:
        """The labels `(N,)` or targets `(N, D)` of the whole train split, without decoding an image."""
        return self._open("train").labels

    @cached_property
    def test_labels(self) -> Tensor:
        """Those of the test split."""
        return self._open("test").labels

    def count_classes(self, labels: Tensor) -> list[int]:
        """Return how many of `labels` `(N,)` each class has."""
        return torch.bincount(labels, minlength=self.classes).tolist()

    def fingerprint(self) -> str:
        """Return a SHA-256 of what determines the images and labels.

        Data at a path count by their content, wherever they lie; data of the hub by repository, configuration and
        revision. Name, normalisation and augmentation do not count.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        resized_to = self._image_size if self.source.resizes else None
        # Three channels and the whole of the shorter side are what all had before there was a choice.
        others: list[object] = [] if self.channels == 3 else [self.channels]
        others += [] if self.center_crop == 1 else [f"center_crop {float(self.center_crop)}"]
        return digest(self.source.fingerprint(), resized_to, self.train_subset, *others)

    @property
    def crops_anew(self) -> bool:
        """Whether training images are cropped out of images of their own size, and so stay on disk."""
        return self._augmentation.crop == "resized"

    def _check_crop_and_colours(self) -> None:
        """Refuse crops and changes of colour that the images, or how they are read, do not allow."""
        asked = {"data.crop=resized": self.crops_anew, f"data.center_crop={self.center_crop}": self.center_crop < 1}
        scales = self.source.resizes and self._image_size is not None
        for option, is_asked in asked.items():
            if is_asked and not scales:
                raise ValueError(
                    f"{option} crops images of their own size and scales them to data.image_size, which must be set, "
                    "and the data must be image_folder, webdataset, huggingface or imagenet, whose images are scaled."
                )
        if self.crops_anew and self.storage == "memory":
            raise ValueError(
                "data.crop=resized crops images of their own size each time they are read, but with "
                "data.storage=memory they are kept scaled. Set data.storage=stream, or data.crop=padded."
            )
        if self._augmentation.color_jitter is not None and self._channels != 3:
            raise ValueError(
                f"data.color_jitter changes the colours of images of 3 channels, but data.channels is {self._channels}."
                " Set data.channels=3, or data.color_jitter=null."
            )

    def _pixel_counts(self) -> Tensor:
        """Return how many pixels of the training images have each value in each channel, `(C, 256)`."""
        if isinstance(self.train, StreamedImages):
            return self.train.pixel_counts(f"Measuring mean and std of {self.name}")
        return Normalisation.pixel_counts(self.train.images)

    def _load(self, split: Split, subset: int | None) -> Images:
        stored = self._open(split)
        rows = torch.arange(len(stored))
        if subset is not None:
            rows = stratified_subset(stored.labels, subset, generator_for("train subset"))
        streamed = StreamedImages(stored, rows, self.pixel_format, self.broken, self.workers)
        if (self.crops_anew and split == "train") or is_streamed(self.storage, streamed.decoded_bytes):
            return streamed
        del self._stored[split]  # what is decoded need not be kept as it was
        return streamed.in_memory(f"Decoding {self.name}, {split}")

    def _encoded(self, split: Split) -> EncodedImages:
        if split not in self._stored:
            self._stored[split] = self.source.open(split)
        return self._stored[split]

    def _open(self, split: Split) -> EncodedImages:
        """Open a split, check its labels and note what is not as one would think."""
        stored = self._encoded(split)
        self._check_class_names(split, stored.class_names)
        stored.check_labels(self.classes)
        counts = self.count_classes(stored.labels) if stored.labels.dim() == 1 else [1] * self.classes
        absent = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
        what = "nothing can be learnt of them" if split == "train" else "nothing is said of how well they are known"
        told = (
            f"the {split} images have none of {len(absent)} of the {self.classes} classes "
            f"({', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}): {what}"
            if absent
            else ""
        )
        self.notes += [sentence for sentence in (told, stored.unread) if sentence and sentence not in self.notes]
        return stored

    def _check_class_names(self, split: Split, found: Sequence[str] | None) -> None:
        """Refuse images of other classes than the published set or the train split has."""
        expected = self._published or (self._told[1] if split == "test" else None)
        if found is None or expected is None or _alike(found) == _alike(expected):
            return
        differing = [
            f"number {number} is {one!r} and not {other!r}"
            for number, (one, other) in enumerate(zip(found, expected, strict=False))
            if _alike([one]) != _alike([other])
        ]
        wrong = differing[0] if differing else f"there are {len(found)} and not {len(expected)}"
        whose = f"data={self.name} has" if self._published else "the training images have"
        mend = OWN_CHOICE if self._published else "Give both splits the same classes."
        raise ValueError(f"The {split} images have other classes than {whose}: {wrong}. {mend}")


def _like(values: Any, number: int) -> list[int]:
    """Return the number as often as there are values."""
    return [number] * (len(values) if isinstance(values, Sequence) else 1)


def _alike(names: Sequence[str]) -> list[str]:
    return [name.casefold().replace("_", " ").replace("-", " ") for name in names]


def _check_options(numbers: Mapping[str, int | None], storage: str, on_broken: str, center_crop: float) -> None:
    """Refuse options that make no sense, whatever the source."""
    for option, number in numbers.items():
        if number is not None:
            POSITIVE_INT.check(f"data.{option}", number)
    one_of(get_args(Storage)).check("data.storage", storage)
    one_of(get_args(OnBroken)).check("data.on_broken", on_broken)
    FRACTION_OR_ONE.check("data.center_crop", center_crop)


def _check_source(name: str, source: Source, published: Mapping[str, Any]) -> None:
    """Refuse what is no source, and another than the one whose name, statistics and classes the configuration has."""
    if not isinstance(source, Source):
        needed = "a subclass of archselect.data.sources.Source, named by its _target_"
        raise ValueError(f"data.source must be {needed}; got {source!r}.")
    for option, value in published.items():
        given = getattr(source, option)
        if given != value:
            raise ValueError(
                f"data.source.{option} is {given!r}, but data={name} is one data set, with {value!r} there; its name, "
                f"classes, mean and std would be taken for other images. {OWN_CHOICE} If these are the images "
                f"of {name} under other names, add data.published=null."
            )
