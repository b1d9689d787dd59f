"""Data sets of the Hugging Face hub, or copies of them in a file or folder."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from archselect.data.fingerprint import digest, digest_of_files
from archselect.data.local import LAYOUTS, LocalImages, Split, SplitNames, local_images
from archselect.data.stored import StoredImages
from archselect.data.table import open_table


@dataclass(frozen=True)
class HubImages:
    """A classification data set of the hub, downloaded once and cached by `datasets`, or read from `path`.

    Attributes:
        repository: name on the hub, e.g. "uoft-cs/cifar10"; `None` where only a path is read.
        image_column: column of the encoded images; `None` for the only one that holds images.
        label_column: column of the labels, whole numbers from 0; `None` for the only one that holds classes.
        configuration: which of the repository's configurations; `None` for its default.
        revision: commit, tag or branch on the hub; `None` for the newest.
        path: a local copy that is read in place of the hub.
        train_split: name of the split with the training images; `None` for "train" or "training".
        test_split: name of the split with the test images; `None` for "test" or "testing".
    """

    repository: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    configuration: str | None = None
    revision: str | None = None
    path: Path | None = None
    train_split: str | None = None
    test_split: str | None = None

    label: ClassVar[str | None] = None
    resizes: ClassVar[bool] = False

    def at(self, path: Path) -> "HubImages":
        return replace(self, path=path)

    def open(self, split: Split) -> StoredImages:
        """Open one split.

        Raises:
            FileNotFoundError: when it is neither on disk nor can be downloaded; says what to put where.
        """
        if self.path is not None:
            return self._local(self.path).open(split)
        if self.repository is None:
            raise ValueError(
                "A data set in the Hugging Face format needs its place: data.path=FOLDER with what `save_to_disk` of "
                "`datasets` wrote or with parquet files, or data.source.repository=OWNER/NAME for one of the hub."
            )
        import datasets  # takes a second, which other sources should not cost
        from datasets.exceptions import DatasetsError

        name = self._names.candidates(split)[0]
        try:
            table = datasets.load_dataset(self.repository, name=self.configuration, revision=self.revision, split=name)
        except (OSError, DatasetsError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(
                f"The {name} split of {self.repository} is not cached and cannot be had from the Hugging Face hub "
                f"({type(error).__name__}: {error}). Connect to the network, or download the parquet files of "
                f"https://huggingface.co/datasets/{self.repository} and say data.path=FOLDER, with train.parquet and "
                f"test.parquet in FOLDER, columns {self.image_column or 'of your choice'} (encoded images) and "
                f"{self.label_column or 'of your choice'} (whole numbers). Other layouts: {LAYOUTS}."
            ) from error
        return open_table(table, self.image_column, self.label_column, f"the {name} split of {self.repository}")

    def classes(self) -> int:
        """Return how many classes the training images have: as many as are named, or as there are numbers.

        Raises:
            ValueError: when the numbers leave one out, so that they may be something else.
        """
        count, _, labels = self._told
        if count is not None:
            return count
        if labels != list(range(len(labels))):
            raise ValueError(
                f"Expected labels from 0 on without a gap where classes have no names, but the training images have "
                f"the labels {', '.join(map(str, labels[:8]))}{', ...' if len(labels) > 8 else ''}. Number the classes "
                "from 0, name another column by data.source.label_column=..., or set data.classes."
            )
        return len(labels)

    def class_names(self) -> tuple[str, ...] | None:
        return self._told[1]

    def image_size(self) -> int:
        return self.open("train").size_of(0)

    def fingerprint(self) -> str:
        """Return a digest of the local files, or else of the name on the hub, and of columns and splits."""
        chosen = (self.image_column, self.label_column, self.train_split, self.test_split)
        if self.path is None:
            return digest("hub", self.repository, self.configuration, self.revision, *chosen)
        return digest("path", digest_of_files(self.path, self._local(self.path).files()), *chosen)

    @cached_property
    def _told(self) -> tuple[int | None, tuple[str, ...] | None, list[int]]:
        """Number and names of the classes, where the training images tell, and which labels they have."""
        train = self.open("train")
        return train.classes, train.class_names, train.labels.unique().tolist()

    @property
    def _names(self) -> SplitNames:
        return SplitNames(self.train_split, self.test_split)

    def _local(self, path: Path) -> LocalImages:
        return local_images(path, self.image_column, self.label_column, self._names)


@dataclass(frozen=True)
class HuggingFaceImages(HubImages):
    """Any data set in the Hugging Face format: what is not named is told by the data, and images are resized."""

    label = "huggingface"
    resizes = True
