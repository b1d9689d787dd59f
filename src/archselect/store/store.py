"""The stages of all runs, on disk."""

from pathlib import Path

from archselect.store.durable import StoreError
from archselect.store.key import StageKey
from archselect.store.stage_folder import StageFolder


class Store:
    """The stages of all runs below one folder.

    Raises:
        StoreError: `root` is a file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(
                f"The results go to a folder, but {self.root} is a file: move it away or name another folder."
            )

    def folder(self, key: StageKey) -> StageFolder:
        """Return the folder of the stage `key`; nothing is made on disk yet."""
        return StageFolder(self.root / "stages" / key.kind / key.folder_name, key)
