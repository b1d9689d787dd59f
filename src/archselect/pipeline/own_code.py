"""A user's own code: which of it a config names, and what its files hold.

A stage's name stands for all that determines its result. Of the package's own code that is `VERSION`; of a class that a
`_target_` names elsewhere it is the file that is named, and those that define it and the classes that it inherits from,
in whatever part of the config that stands.
"""

import hashlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from archselect.safe_io.files import nodes
from archselect.store.integrity import sha256_of
from archselect.utils.validation import imported

KNOWN = ("archselect", "torch", "pytorch_lightning")
"""The packages whose versions a stage's `VERSION` and provenance answer for."""


def own_targets(config: Any) -> list[str]:
    """Return every `_target_` in plain data that none of the known packages has, sorted."""
    found = {str(value) for place, value in nodes(config) if place.rpartition(".")[2] == "_target_"}
    return sorted(target for target in found if target.partition(".")[0] not in KNOWN)


def own_sources(*parts: Any) -> dict[str, dict[str, str]]:
    """Return what parts of a config add to a stage's identity: `sources`, per target the SHA-256 of its files; or {}.

    Raises:
        ValueError: A class was not read from a file, so nothing could say when it changes.
    """
    sources = {target: _digest(target) for target in own_targets(list(parts))}
    return {"sources": sources} if sources else {}


def _digest(target: str) -> str:
    """Return the SHA-256 of the file of a class or function; of several files that of their hashes."""
    digests = sorted({sha256_of(file) for file in _files_of(target)})
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _files_of(target: str) -> list[Path]:
    """Return the files that a class or function hangs on; compiled code counts as well."""
    module, found = target.rpartition(".")[0], imported(target, "The config names")
    known = (*KNOWN, *sys.stdlib_module_names)
    modules = {module, *(one for one in _modules_of(found) if one.partition(".")[0] not in known)}
    files = [Path(getattr(sys.modules.get(one), "__file__", None) or "") for one in modules]
    if not all(file.is_file() for file in files):
        raise ValueError(
            f"The config names {target!r}, which was not read from a file but typed or built into Python: stages that "
            "use it could not tell when it changes, and would be found again. Put it into a file of its own, such as "
            "my_module.py, and name my_module.CLASS."
        )
    return files


def _modules_of(found: Any) -> Iterator[str]:
    """Yield the modules of a class and those it inherits from; of a partial, those of what it calls and is given."""
    if isinstance(found, partial):
        for part in (found.func, *found.args, *found.keywords.values()):
            yield from _modules_of(part)
    elif isinstance(found, type):
        yield from (kind.__module__ for kind in found.__mro__)
    else:
        yield getattr(found, "__module__", None) or "builtins"
        yield from _modules_of(type(found))
