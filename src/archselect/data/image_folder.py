"""Own data: a folder of images per class."""

from dataclasses import dataclass
from pathlib import Path

from archselect.data.fingerprint import digest, digest_of_files
from archselect.data.local import ClassFolders, Split
from archselect.data.stored import StoredImages


@dataclass(frozen=True)
class ImageFolder:
    """Images in `path/train/CLASS/` and `path/test/CLASS/`; the names of the folders are the classes."""

    path: Path | None = None

    resizes = True

    def at(self, path: Path) -> "ImageFolder":
        return ImageFolder(path)

    def open(self, split: Split) -> StoredImages:
        return self._folders().open(split)

    def classes(self) -> int:
        return len(self._folders().classes())

    def image_size(self) -> int:
        return self.open("train").size_of(0)

    def fingerprint(self) -> str:
        folders = self._folders()
        return digest("path", digest_of_files(folders.path, folders.files()))

    def _folders(self) -> ClassFolders:
        if self.path is None:
            raise ValueError(
                "An image folder needs its path: data.path=FOLDER with train/CLASS/IMAGE.png and test/CLASS/IMAGE.png."
            )
        if not (self.path / "train").is_dir():
            raise FileNotFoundError(
                f"data.path is {self.path}, but {self.path / 'train'} is not a folder. "
                "Expected train/CLASS/IMAGE.png and test/CLASS/IMAGE.png."
            )
        return ClassFolders(self.path)
