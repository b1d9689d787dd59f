"""Where images come from: the seam between `ImageData` and the kinds of data sets."""

from pathlib import Path
from typing import Protocol

from archselect.data.local import Split
from archselect.data.stored import StoredImages


class Source(Protocol):
    """A data set with a train and a test split, found without reading more than is asked for."""

    resizes: bool  # whether images of another size are brought to the configured one, or refused
    label: str | None  # of stages' folders in place of a name that follows from a path, so that data may be moved

    def at(self, path: Path) -> "Source":
        """Return the same data set read from `path`.

        Raises:
            ValueError: when it cannot be.
        """
        ...

    def open(self, split: Split) -> StoredImages:
        """Return the images of a split, undecoded; `ValueError` where it is missing or damaged."""
        ...

    def classes(self) -> int:
        """Return the number of classes without opening images; `ValueError` where the configuration must say it."""
        ...

    def class_names(self) -> tuple[str, ...] | None:
        """Return the names of the classes in the order of their numbers, where the data tell."""
        ...

    def image_size(self) -> int:
        """Return height and width of the first image; `ValueError` where the configuration must say it."""
        ...

    def fingerprint(self) -> str:
        """Return what determines the data, as a digest."""
        ...
