"""Own data: a folder of images per class."""

from dataclasses import dataclass, replace
from pathlib import Path

from archselect.data.fingerprint import digest, digest_of_files
from archselect.data.local import ClassFolders, Split, SplitNames
from archselect.data.stored import StoredImages
from archselect.foreign.files import printable


@dataclass(frozen=True)
class ImageFolder:
    """Images in `path/train/CLASS/` and `path/test/CLASS/`; the names of the folders are the classes.

    Attributes:
        path: of the folder that holds both.
        train_split: name of the folder with the training images; `None` for "train" or "training".
        test_split: name of the folder with the test images; `None` for "test" or "testing".
    """

    path: Path | None = None
    train_split: str | None = None
    test_split: str | None = None

    label = "image_folder"
    resizes = True

    def at(self, path: Path) -> "ImageFolder":
        return replace(self, path=path)

    def open(self, split: Split) -> StoredImages:
        return self._folders().open(split)

    def classes(self) -> int:
        return len(self._folders().classes())

    def class_names(self) -> tuple[str, ...]:
        return tuple(map(printable, self._folders().classes()))

    def image_size(self) -> int:
        return self.open("train").size_of(0)

    def fingerprint(self) -> str:
        folders = self._folders()
        return digest("path", digest_of_files(folders.path, folders.files()), self.train_split, self.test_split)

    def _folders(self) -> ClassFolders:
        if self.path is None:
            raise ValueError(
                "An image folder needs its path: data.path=FOLDER with train/CLASS/IMAGE.png and test/CLASS/IMAGE.png."
            )
        names = SplitNames(self.train_split, self.test_split)
        candidates = names.candidates("train")
        if not any((self.path / name).is_dir() for name in candidates):
            raise FileNotFoundError(
                f"data.path is {self.path}, but {self.path / candidates[0]} is not a folder. "
                "Expected train/CLASS/IMAGE.png and test/CLASS/IMAGE.png; folders of other names: "
                "data.source.train_split=... data.source.test_split=..."
            )
        return ClassFolders(self.path, names)
