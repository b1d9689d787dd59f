"""Data sets of the Hugging Face hub, or copies of them in a file or folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from archselect.data.fingerprint import digest, digest_of_files
from archselect.data.local import LAYOUTS, Split, local_images
from archselect.data.stored import StoredImages
from archselect.data.table import open_table


@dataclass(frozen=True)
class HubImages:
    """A classification data set of the hub, downloaded once and cached by `datasets`, or read from `path`.

    Attributes:
        repository: name on the hub, e.g. "uoft-cs/cifar10".
        image_column: column of the encoded images.
        label_column: column of the labels, whole numbers from 0.
        configuration: which of the repository's configurations; `None` for its default.
        revision: commit, tag or branch on the hub; `None` for the newest.
        path: a local copy that is read in place of the hub.
    """

    repository: str
    image_column: str
    label_column: str
    configuration: str | None = None
    revision: str | None = None
    path: Path | None = None

    resizes = False

    def at(self, path: Path) -> "HubImages":
        return replace(self, path=path)

    def open(self, split: Split) -> StoredImages:
        """Open one split.

        Raises:
            FileNotFoundError: when it is neither on disk nor can be downloaded; says what to put where.
        """
        if self.path is not None:
            return local_images(self.path, self.image_column, self.label_column).open(split)
        import datasets  # takes a second, which other sources should not cost
        from datasets.exceptions import DatasetsError

        try:
            table = datasets.load_dataset(
                self.repository, name=self.configuration, revision=self.revision, split=str(split)
            )
        except (OSError, DatasetsError, ValueError, RuntimeError) as error:
            raise FileNotFoundError(
                f"The {split} split of {self.repository} is not cached and cannot be had from the Hugging Face hub "
                f"({type(error).__name__}: {error}). Connect to the network, or download the parquet files of "
                f"https://huggingface.co/datasets/{self.repository} and say data.path=FOLDER, with train.parquet and "
                f"test.parquet in FOLDER, columns {self.image_column} (encoded images) and {self.label_column} "
                f"(whole numbers). Other layouts: {LAYOUTS}."
            ) from error
        return open_table(table, self.image_column, self.label_column, f"the {split} split of {self.repository}")

    def classes(self) -> int:
        raise ValueError(f"The number of classes of {self.repository} is not configured. Set data.classes.")

    def image_size(self) -> int:
        raise ValueError(f"The size of the images of {self.repository} is not configured. Set data.image_size.")

    def fingerprint(self) -> str:
        """Return a digest of the local files and columns, or else of the name on the hub, without downloading it."""
        if self.path is None:
            return digest(
                "hub", self.repository, self.configuration, self.revision, self.image_column, self.label_column
            )
        files = local_images(self.path, self.image_column, self.label_column).files()
        return digest("path", digest_of_files(self.path, files), self.image_column, self.label_column)
