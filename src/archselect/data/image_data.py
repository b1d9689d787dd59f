"""A data set as the configuration group `data` describes it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from archselect.checks import check_flag
from archselect.data.augmentation import Augmentation, Normalisation
from archselect.data.fingerprint import digest
from archselect.data.labelled import LabelledImages
from archselect.data.local import Split
from archselect.data.source import Source
from archselect.data.splits import stratified_subset
from archselect.places import expand
from archselect.randomness import generator_for


class ImageData:
    """Images with labels, decoded when they are asked for and remembered.

    Name, classes, image size and fingerprint are known without decoding anything; `test` is read when it is asked for,
    never before.

    Args:
        name: as it appears in results.
        source: where the images come from.
        mean: of each channel, for values between 0 and 1.
        std: of each channel, likewise.
        classes: number of classes; `None` to let the source tell.
        image_size: pixels of height and width; `None` for the size of the source's images, which must be equal.
        pad: pixels of padding for the random crop.
        flip: whether mirroring an image keeps its meaning.
        train_subset: so many images of the train split, drawn once and for all and with every class's share kept, in
            place of all.
        path: a file or folder that `source` is read from.
        console: where progress is shown; standard error when `None`.

    Raises:
        ValueError: for numbers that make no sense.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        mean: Sequence[float],
        std: Sequence[float],
        classes: int | None = None,
        image_size: int | None = None,
        pad: int = 4,
        flip: bool = True,
        train_subset: int | None = None,
        path: str | Path | None = None,
        console: Console | None = None,
    ) -> None:
        for option, number in (("classes", classes), ("image_size", image_size), ("train_subset", train_subset)):
            if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
                raise ValueError(f"Expected data.{option} to be a positive whole number, got {number!r}.")
        check_flag("data.flip", flip)
        if not callable(getattr(source, "open", None)):
            raise ValueError(f"data.source must name a class by its _target_; got {source!r}.")
        self.name = name
        self.source = source if path is None else source.at(Path(expand(str(path))))
        self.normalisation = Normalisation.of(mean, std)
        self.train_subset = train_subset
        self._classes, self._image_size = classes, image_size
        self._augmentation = Augmentation(pad, flip)
        self._console = console or Console(stderr=True)

    @cached_property
    def classes(self) -> int:
        return self.source.classes() if self._classes is None else self._classes

    @cached_property
    def image_size(self) -> int:
        return self.source.image_size() if self._image_size is None else self._image_size

    def augmentation(self, cutout: int = 0) -> Augmentation:
        """Return the crop and flip that suit these images, with a cutout of `cutout` pixels.

        Raises:
            ValueError: when the cutout is larger than an image.
        """
        augmentation = Augmentation(self._augmentation.pad, self._augmentation.flip, cutout)
        augmentation.check(self.image_size, self.image_size)
        return augmentation

    @cached_property
    def train(self) -> LabelledImages:
        """The train split, or the subset of it."""
        return self._load("train", self.train_subset)

    @cached_property
    def test(self) -> LabelledImages:
        """The test split, always whole."""
        return self._load("test", None)

    def fingerprint(self) -> str:
        """Return a SHA-256 of what determines the images and labels.

        Data at a path count by their content (see `fingerprint.digest_of_files`), wherever they lie; data of the hub by
        repository, configuration and revision. Name, normalisation and augmentation do not count.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        resized_to = self._image_size if self.source.resizes else None
        return digest(self.source.fingerprint(), resized_to, self.train_subset)

    def _load(self, split: Split, subset: int | None) -> LabelledImages:
        stored = self.source.open(split)
        stored.check_labels(self.classes)
        if subset is None:
            rows = torch.arange(len(stored))
        else:
            rows = stratified_subset(stored.labels, subset, generator_for("train subset"))
        description = f"Decoding {self.name}, {split}"
        resize = self.source.resizes and self._image_size is not None
        return stored.decode(rows, self.image_size, resize, description, self._console)
