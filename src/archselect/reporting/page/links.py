"""Links from the page to folders and files beside it, relative, so that both can be moved together."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Links:
    """Makes the links of a page.

    Attributes:
        home: The folder of the page.
    """

    home: Path

    def to(self, path: Path) -> str | None:
        """Return the relative address of `path`, quoted: no name of a folder can be a scheme; None: it is not there."""
        if not path.exists():
            return None
        # Symbolic links stay: a browser takes ".." off the address that the page was opened by.
        address = quote(os.fsencode(os.path.relpath(path, self.home)))
        return f"{address}/" if path.is_dir() else address
