"""The name of a data set that has none of its own, as a resolver of configs; imports nothing that takes long."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from archselect.places import expand, redact

RESOLVER = "archselect.data_name"


def data_name(path: str | None, source: dict[str, Any], fallback: str) -> str:
    """Return a name for the data set at `path`, or else of `source["repository"]`: two data sets get two names.

    The name is the last part of the path (of a repository: owner and name) and four hexadecimal digits of the SHA-256
    of the whole path and of the source's options: `birds-3f9a`. The home folder counts as `~`, so that a name says
    nothing about whose it is and stays the same for other users. Nothing is read: the name is part of the folder that
    a run is composed for.

    Args:
        path: `data.path`; `None` where nothing was given.
        source: The options in `data.source`: other columns or splits are another data set.
        fallback: The name where there is neither a path nor a repository.
    """
    repository = source.get("repository")
    if not path and not repository:
        return fallback
    place = redact(os.path.abspath(expand(path))) if path else str(repository)
    readable = Path(place).name if path else place
    identity = json.dumps([place, source], sort_keys=True, default=str)
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", readable).strip("-.")[:60] or fallback
    return f"{label}-{hashlib.sha256(identity.encode()).hexdigest()[:4]}"


def register_data_name() -> None:
    """Make `${archselect.data_name:FALLBACK}` known: the name of the data set whose options stand beside it."""

    def resolve(fallback: str, *, _parent_: DictConfig) -> str:
        source = cast(dict[str, Any], OmegaConf.to_container(_parent_.source, resolve=True))
        path = _parent_.path
        return data_name(None if path is None else str(path), source, fallback)

    OmegaConf.register_new_resolver(RESOLVER, resolve, replace=True)
