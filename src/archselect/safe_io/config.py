"""The config of a run that may come from somebody else: YAML without aliases and resolvers, and only known classes."""

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader  # 1e-3 is a number to OmegaConf, and text to PyYAML
from torch.optim import Optimizer

from archselect.safe_io.files import CONFIG_BYTES, CONFIG_DEPTH, read_text

OWN = tuple(
    f"archselect.{name}"
    for name in ("analysis", "data", "evaluation", "models", "search", "search_spaces", "selection")
)
"""The packages whose classes the config groups name, or hand on."""

OPTIMIZERS = "torch.optim"
TRAINER = "pytorch_lightning.Trainer"


def check_targets(config: Any, origin: Path, trusted: Sequence[str] = ()) -> None:
    """Raise unless every `_target_` in `config` names a class that a config may name; nothing is made of any.

    Allowed are classes that archselect's own packages define, optimizers that `torch.optim` defines, and the trainer of
    Lightning. What merely can be reached through an allowed package, such as `archselect.data.sources.Path`, is not.

    Args:
        config: Plain data, not resolved.
        origin: Where it was read, for the message.
        trusted: Further packages, whose own classes and functions are allowed.

    Raises:
        ValueError: A `_target_` names something else.
    """
    for package in trusted:
        if not isinstance(package, str) or not all(part.isidentifier() for part in package.split(".")):
            raise ValueError(f"trusted lists packages by name, such as [my_package]; got {package!r}.")
    for place, target in _nodes(config):
        if place.rpartition(".")[2] == "_target_" and (why := _fault(target, trusted)) is not None:
            raise ValueError(
                f"The config {origin} names {str(target)[:200]!r} as {place}, {why}; nothing of it was run. A config "
                f"that is read back may name classes of archselect ({', '.join(OWN)}), optimizers of {OPTIMIZERS}, and "
                f"{TRAINER}. If it names a package of your own, say so: analyze.py ... 'trusted=[my_package]', or "
                "open_run(folder, trusted=['my_package'])."
            )


def _nodes(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield everything within plain data, with the dotted place where it stands."""
    yield place, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _nodes(part, f"{place}.{key}" if place else str(key))


def _fault(target: Any, trusted: Sequence[str]) -> str | None:
    """Return what is wrong with a target; None: it may be called."""
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        return "which is no dotted name of a class"  # nor may it be put together from other options
    if target == TRAINER:
        return None
    for package in (*trusted, *OWN, OPTIMIZERS):
        if target.startswith(f"{package}."):
            return _fault_in(target, package, trusted=package in trusted)
    return "which lies in no package that it may name"


def _fault_in(target: str, package: str, trusted: bool) -> str | None:
    """Return what is wrong with a target whose name begins with that of an allowed package."""
    try:
        found: Any = import_module(package)
    except ImportError as error:
        return f"which is of the package {package}, and that cannot be imported here ({error})"
    for part in target.removeprefix(f"{package}.").split("."):
        if part.startswith("_") and not trusted:
            return "which is private"
        owner, found = found, getattr(found, part, None)
        if found is None and inspect.ismodule(owner):
            found = _submodule(f"{owner.__name__}.{part}", package)
        if found is None:
            return f"which {package} does not have"
        if inspect.ismodule(found) and not _within(found.__name__, package):
            return f"which leads out of {package}"
    if not (inspect.isclass(found) or (trusted and inspect.isfunction(found))):
        return "which is no class"
    if not any(_within(found.__module__, home) for home in (OWN if package in OWN else (package,))):
        return f"which is defined in {found.__module__}, not in {package}"
    if package == OPTIMIZERS and not (isinstance(found, type) and issubclass(found, Optimizer)):
        return "which is no optimizer"
    return None


def _submodule(name: str, package: str) -> Any:
    if name.rpartition(".")[2].startswith("__"):  # a module of that name does something when it is imported
        return None
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not _within(error.name, package):
            raise  # the package itself cannot be imported
        return None


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


_REFERENCE = re.compile(r"\$\{[A-Za-z0-9_.\[\]-]+\}")
# In `data.name`, the one resolver that is asked: it reads only the options beside it; see `pipeline.command_line`.
_NAME_OF_DATA = re.compile(r"\$\{archselect\.data_name:[a-z_]+\}")
# All dollar signs but those of `${key}` and `$USER`: they could be put together to a resolver.
_STRAY_DOLLAR = re.compile(r"\$(?![A-Za-z])")


def read_config(path: Path, root: Path, without: str = "") -> dict[Any, Any]:
    """Return the config at `path` as plain data, nothing in it resolved.

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
    for place, text in _nodes(config):
        if not isinstance(text, str) or (place == "data.name" and _NAME_OF_DATA.fullmatch(text)):
            continue
        if _STRAY_DOLLAR.search(_REFERENCE.sub("\0", text)):
            raise ValueError(
                f"The config {path} has {place}: {text[:80]!r}. A resolver such as ${{oc.env:NAME}} in a config that "
                "is read back is not resolved, because it could hand out what is secret on this machine. Write the "
                "value itself there."
            )
    return config


def read_overrides(path: Path, root: Path) -> list[Any]:
    """Return the list of overrides that Hydra wrote to `path`: what was typed, to be shown and no more."""
    overrides = _loaded(path, root, yaml.SafeLoader)
    if not isinstance(overrides, list):
        raise ValueError(f"{path.name} holds no list of overrides")
    return overrides


def _loaded(path: Path, root: Path, loader: Any) -> Any:
    text = read_text(path, root, CONFIG_BYTES)
    try:
        _check_events(text, path)
        return yaml.load(text, loader)
    except (yaml.YAMLError, OverflowError) as error:
        reason = str(error).split("\n")[0]
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            reason = f"{error.problem} in line {error.problem_mark.line + 1}."
        raise ValueError(f"{path} is damaged, or no YAML: {reason}") from error


def _check_events(text: str, path: Path) -> None:
    """Refuse aliases, tags and deep nesting by the events of the YAML, of which nothing is made yet."""
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
