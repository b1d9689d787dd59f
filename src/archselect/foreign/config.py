"""The YAML of a config that may come from somebody else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader  # 1e-3 is a number to OmegaConf, and text to PyYAML

from archselect.foreign.files import read_text
from archselect.foreign.limits import CONFIG_BYTES, CONFIG_DEPTH

_REFERENCE = re.compile(r"\$\{[A-Za-z0-9_.\[\]-]+\}")
_NAME_OF_DATA = re.compile(r"\$\{archselect\.data_name:[a-z_]+\}")
"""In `data.name`, the one resolver that is asked: it reads only the options beside it; see `archselect.naming`."""

_STRAY_DOLLAR = re.compile(r"\$(?![A-Za-z])")
"""All dollar signs but those of `${key}` and `$USER`: they could be put together to a resolver."""


def read_config(path: Path, root: Path, without: str = "") -> dict[Any, Any]:
    """Return the config at `path` as plain data, nothing in it resolved; see `files.checked`.

    A `${key}` that refers to another option of the same config is kept. A resolver, such as `${oc.env:NAME}`, would be
    asked here for what the run was given there, and may hand out what is secret here.

    Args:
        path: The file.
        root: The folder that it belongs to.
        without: A group that is left out, whatever it holds.

    Raises:
        ValueError: It is no such file, no YAML, or has what no config that Hydra wrote has: aliases, tags, resolvers.
    """
    config = _loaded(path, root, get_yaml_loader())
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no config of a run, which has its options by name.")
    config.pop(without, None)
    for place, text in _texts(config, ""):
        if place == "data.name." and _NAME_OF_DATA.fullmatch(text):
            continue
        if _STRAY_DOLLAR.search(_REFERENCE.sub("\0", text)):
            raise ValueError(
                f"The config {path} has {place.rstrip('.')}: {text[:80]!r}. A resolver such as ${{oc.env:NAME}} in a "
                "config that is read back is not resolved, because it could hand out what is secret on this machine. "
                "Write the value itself there."
            )
    return config


def read_overrides(path: Path, root: Path) -> list[Any]:
    """Return the list of overrides that Hydra wrote to `path`: what was typed, to be shown and no more.

    Raises:
        ValueError: It is no such list.
    """
    overrides = _loaded(path, root, yaml.SafeLoader)
    if not isinstance(overrides, list):
        raise ValueError(f"{path.name} holds no list of overrides")
    return overrides


def _loaded(path: Path, root: Path, loader: Any) -> Any:
    text = read_text(path, root, CONFIG_BYTES)
    try:
        _check(text, path)
        return yaml.load(text, loader)
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(f"{path} is damaged, or no YAML: {_first_line(error)}") from error


def _check(text: str, path: Path) -> None:
    """Look at the events of the YAML, of which nothing is made yet."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None, "of a text, every event has its place"
        where = f"Line {event.start_mark.line + 1} of {path}"
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(
                f"{where} repeats a part of the file by the alias *{event.anchor}. The config of a run has no aliases, "
                "which can make a small file large; it is not read."
            )
        if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag is not None:
            raise ValueError(
                f"{where} has the tag {event.tag}. The config of a run is data without tags; it is not read."
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > CONFIG_DEPTH:
            raise ValueError(
                f"{where} is nested more than {CONFIG_DEPTH} deep; the config of a run is not, and it is not read."
            )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part, f"{place}{key}.")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, f"{place}{number}.")


def _first_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}."
    return str(error).split("\n")[0]
