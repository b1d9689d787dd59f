"""A user's own code: which of it a config names, and what its files hold.

A stage's name stands for all that determines its result. Of the package's own code that is `VERSION`; of a class that a
`_target_` names elsewhere it is the file that defines it, in whatever part of the config that stands.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from archselect.safe_io.files import nodes
from archselect.store.integrity import sha256_of

KNOWN = ("archselect", "torch", "pytorch_lightning")
"""The packages whose versions a stage's `VERSION` and provenance answer for."""


def own_targets(config: Any) -> list[str]:
    """Return every `_target_` in plain data that none of the known packages has, sorted."""
    found = {str(value) for place, value in nodes(config) if place.rpartition(".")[2] == "_target_"}
    return sorted(target for target in found if target.partition(".")[0] not in KNOWN)


def own_sources(*parts: Any) -> dict[str, dict[str, str]]:
    """Return what parts of a config add to a stage's identity: `sources`, per target the SHA-256 of its file; or {}.

    Raises:
        ValueError: A class was not read from a file, so nothing could say when it changes.
    """
    sources = {target: sha256_of(_file_of(target)) for target in own_targets(list(parts))}
    return {"sources": sources} if sources else {}


def _file_of(target: str) -> Path:
    """Return the file that defines a class or function; compiled code counts as well."""
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
        file = getattr(sys.modules[found.__module__], "__file__", None)
    except (ImportError, AttributeError, KeyError) as error:
        raise ValueError(
            f"The config names {target!r}, which cannot be imported ({error}). _target_ must be MODULE.CLASS of a file "
            "that Python finds: in the folder you are in, or in one on PYTHONPATH."
        ) from error
    if file is None or not Path(file).is_file():
        raise ValueError(
            f"The config names {target!r}, which was not read from a file but typed or built into Python: stages that "
            "use it could not tell when it changes, and would be found again. Put it into a file of its own, such as "
            "my_module.py, and name my_module.CLASS."
        )
    return Path(file)
