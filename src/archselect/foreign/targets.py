"""Which classes a config that is read back may name by `_target_`: Hydra calls whatever is named there."""

import inspect
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

OWN = tuple(
    f"archselect.{name}" for name in ("analysis", "data", "evaluation", "networks", "search", "selection", "spaces")
)
"""The packages whose classes the config groups name, or hand on."""

OPTIMIZERS = "torch.optim"
TRAINER = "pytorch_lightning.Trainer"


def check_targets(config: Any, origin: Path, trusted: Sequence[str] = ()) -> None:
    """Raise unless every `_target_` in `config` names a class that a config may name; nothing is made of any.

    Allowed are classes that archselect's own packages define, optimizers that `torch.optim` defines, and the trainer of
    Lightning. What merely can be reached through an allowed package, such as `archselect.config.os.system`, is not.

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
    for place, target in _targets(config, ""):
        if (why := _fault(target, trusted)) is not None:
            raise ValueError(
                f"The config {origin} names {str(target)[:200]!r} as {place}, {why}; nothing of it was run. A config "
                f"that is read back may name classes of archselect ({', '.join(OWN)}), optimizers of {OPTIMIZERS}, and "
                f"{TRAINER}. If it names a package of your own, say so: analyze.py ... 'trusted=[my_package]', or "
                "open_run(folder, trusted=['my_package'])."
            )


def _targets(config: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(config, dict):
        for name, value in config.items():
            if name == "_target_":
                yield f"{place}_target_", value
            yield from _targets(value, f"{place}{name}.")
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield from _targets(value, f"{place}{number}.")


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
    module = package
    for part in target.removeprefix(f"{package}.").split("."):
        if part.startswith("_") and not trusted:
            return "which is private"
        owner, found = found, getattr(found, part, None)
        if found is None and inspect.ismodule(owner):
            module = f"{owner.__name__}.{part}"
            found = _submodule(module, package)
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
