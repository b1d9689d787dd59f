"""Where images come from: the seam between `ImageData` and the kinds of data sets."""

from pathlib import Path
from typing import Protocol

from archselect.data.local import Split
from archselect.data.stored import StoredImages


class Source(Protocol):
    """A data set with a train and a test split, found without reading more than is asked for."""

    resizes: bool  # whether images of another size are brought to the configured one, or refused

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

    def image_size(self) -> int:
        """Return height and width without decoding; `ValueError` where the configuration must say it."""
        ...

    def fingerprint(self) -> str:
        """Return what determines the data, as a digest."""
        ...
