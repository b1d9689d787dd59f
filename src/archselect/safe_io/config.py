"""The config of a run that may come from somebody else: YAML without aliases and resolvers, and only known classes."""

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader  # 1e-3 is a number to OmegaConf, and text to PyYAML
from torch.optim import Optimizer

from archselect.safe_io.files import CONFIG_BYTES, CONFIG_DEPTH, nodes, read_text

OWN = tuple(
    f"archselect.{name}"
    for name in ("analysis", "data", "evaluation", "models", "search", "search_spaces", "selection", "tasks")
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
    for place, target in nodes(config):
        if place.rpartition(".")[2] == "_target_" and (why := _fault(target, trusted)) is not None:
            raise ValueError(
                f"The config {origin} names {str(target)[:200]!r} as {place}, {why}; nothing of it was run. A config "
                f"that is read back may name classes of archselect ({', '.join(OWN)}), optimizers of {OPTIMIZERS}, and "
                f"{TRAINER}. If it names a package of your own, say so: 'trusted=[my_package]' where you type, "
                "trusted=['my_package'] in Python."
            )


def _fault(target: Any, trusted: Sequence[str]) -> str | None:
    """Return what is wrong with a target; None: it may be called."""
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        return "which is no dotted name of a class"  # nor may it be put together from other options
    if target == TRAINER:
        return None
    package = next((one for one in (*trusted, *OWN, OPTIMIZERS) if target.startswith(f"{one}.")), None)
    if package is None:
        return "which lies in no package that it may name"
    module, _, name = target.rpartition(".")
    # A module such as __main__ does something when it is imported.
    hidden = "__" if package in trusted else "_"
    if any(part.startswith(hidden) for part in target.removeprefix(f"{package}.").split(".")):
        return "which is private"
    try:
        found = getattr(import_module(module), name, None)  # no attribute is walked through: it could lead elsewhere
    except ImportError as error:
        return f"whose module {module} cannot be imported here ({error})"
    if not (inspect.isclass(found) or (package in trusted and inspect.isfunction(found))):
        return f"which is no class of {module}"
    homes = OWN if package in OWN else (package,)
    if not any(f"{found.__module__}.".startswith(f"{home}.") for home in homes):
        return f"which is defined in {found.__module__}, not in {package}"
    if package == OPTIMIZERS and not (inspect.isclass(found) and issubclass(found, Optimizer)):
        return "which is no optimizer"
    return None


_REFERENCE = re.compile(r"\$\{[A-Za-z0-9_.\[\]-]+\}")
# In `data.name`, the one resolver that is asked: it reads only the options beside it; see `pipeline.command_line`.
_NAME_OF_DATA = re.compile(r"\$\{archselect\.data_name:[a-z_]+\}")
# All dollar signs but those of `${key}` and `$USER`: they could be put together to a resolver.
_STRAY_DOLLAR = re.compile(r"\$(?![A-Za-z])")


def read_config(path: Path, root: Path, without: str = "") -> dict[Any, Any]:
    """Return the config that Hydra wrote to `path`, in the folder `root`, as plain data; references are kept.

    The group `without` is left out, whatever it holds.

    Raises:
        ValueError: It is no such file, no YAML, or has what no config that Hydra wrote has: aliases, tags, resolvers.
    """
    config = _loaded(path, root, get_yaml_loader())
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no config of a run, which has its options by name.")
    config.pop(without, None)
    for place, text in nodes(config):
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
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        wrong = None
        if isinstance(event, yaml.AliasEvent):
            wrong = f"repeats a part of the file by the alias *{event.anchor}, which can make a small file large"
        elif isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag is not None:
            wrong = f"has the tag {event.tag}"
        elif depth > CONFIG_DEPTH:
            wrong = f"is nested more than {CONFIG_DEPTH} deep"
        if wrong is not None:
            assert event.start_mark is not None, "of a text, every event has its place"
            raise ValueError(
                f"Line {event.start_mark.line + 1} of {path} {wrong}. The config of a run is data without aliases and "
                f"tags, at most {CONFIG_DEPTH} deep; this one is not read."
            )
