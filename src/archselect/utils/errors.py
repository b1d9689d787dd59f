"""Errors that a user can mend, in a sentence: what Hydra refuses, which name was meant, what is missing."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from archselect.store import explanation
from archselect.store.redact_paths import override


class RunError(CompactHydraException):
    """An error that a user can mend: its message says what was expected, what came and what to do."""


@contextmanager
def extra(name: str, choice: str) -> Iterator[None]:
    """Import packages of an optional extra.

    Args:
        name: The extra's name in pyproject.toml.
        choice: What needs it, as the user typed it.

    Raises:
        RunError: One of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise RunError(
            f"{choice} needs the package {error.name}, which is not installed: pip install 'archselect[{name}]' "
            f"(or pip install -e '.[{name}]' in a copy of the repository)."
        ) from error


def sentence(error: BaseException) -> str:
    """Return what an error says; of one that no user was meant to see, its kind as well."""
    if isinstance(error, CompactHydraException):
        return str(error)
    return f"{type(error).__name__}: {error}"


def in_a_sentence(error: Exception, composing: bool) -> str | None:
    """Return what a user is told of an error; None: no user can mend it.

    Args:
        error: The error.
        composing: Whether it came while the config was composed, of which only the user's words can be wrong.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_choice(error, error.missing_cfg_file)
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        quoted = shlex.quote(override(key, value))
        return f"{error.override} cannot be read ({_first_line(error)}). If it is a text, put it into quotes: {quoted}"
    if isinstance(error, ConfigCompositionException):
        return _composition(error)
    if not is_user_error(error, composing):
        return None
    if isinstance(error, OSError) and error.filename is not None:
        where = "Hydra keeps a run's log and config there: set logs=FOLDER to a folder that can be written."
        return f"{explanation(error, Path(error.filename))}\n{where}"
    return "\n".join(dict.fromkeys([reworded(error), *_cause(error)]))


def is_user_error(error: Exception, composing: bool) -> bool:
    """Return whether a user can mend an error: what Hydra and OmegaConf say of overrides, and what the disk says.

    Of some overrides, such as search_space=0, Hydra says so by a ValueError or TypeError, which elsewhere is a bug.
    """
    mendable = (CompactHydraException, OmegaConfBaseException, OSError)
    return isinstance(error, (*mendable, ValueError, TypeError) if composing else mendable)


def reworded(error: BaseException) -> str:
    """Return what an error says; of one in a resolver what that said, without what OmegaConf puts around it."""
    if not isinstance(error, InterpolationResolutionError):
        return str(error)
    return re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).split("\n    full_key:")[0])


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question with the nearest of `names`; empty: none is near."""
    close = get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _cause(error: Exception) -> list[str]:
    return [str(error.__cause__)] if isinstance(error.__cause__, OmegaConfBaseException) else []


def _missing_choice(error: MissingConfigException, missing: str) -> str:
    group, _, name = missing.rpartition("/")
    if not group:
        return str(error)
    there = sorted(error.options or _choices(str(error), group))
    if not there:
        return f"There is no {group}={name}, nor any other choice of {group}."
    return f"There is no {group}={name}.{did_you_mean(name, there)} The choices of {group} are {', '.join(there)}."


def _choices(message: str, group: str) -> list[str]:
    """Return the choices of a group, of which Hydra says nothing when several may be taken, from its search path."""
    folders = (Path(place) / group for place in re.findall(r"path=file://(.*)", message))
    return [file.stem for folder in folders for file in folder.glob("*.yaml")]


def _composition(error: ConfigCompositionException) -> str:
    cause, message = error.__cause__, str(error)
    if (several := re.match(r"Ambiguous value for argument '(.*)'\n", message)) is not None:
        key, _, values = several[1].partition("=")
        return (
            f"{several[1]} gives several values. Add -m to run a job for each of them; for a single value that is a "
            f"list, type '{key}=[{values}]'."
        )
    if not isinstance(cause, ConfigAttributeError | ConfigKeyError) or not isinstance(cause.parent_node, DictConfig):
        return " ".join(" ".join(dict.fromkeys([reworded(error), *_cause(error)])).split())
    parent, key = cause.parent_node, str(cause.key)
    place = str(parent._get_full_key(None))
    full = f"{place}.{key}" if place else key
    names = [str(name) for name in parent if name not in ("_target_", "_partial_", "_convert_", "hydra")]
    hint = did_you_mean(key, names)
    if not hint and (near := _elsewhere(key, parent._get_root())):
        hint = f" Did you mean {' or '.join(near[:3])}?"
    options = f"The options of {place or 'a run'} are {', '.join(names)}." if names else f"{place} has none."
    return f"There is no option {full}.{hint} {options}"


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]


def _elsewhere(key: str, root: Any) -> list[str]:
    """Return where else in a config there is an option of that name."""
    return [place for place in _places(root, "") if place.rpartition(".")[2] == key and not place.startswith("hydra.")]


def _places(config: Any, place: str) -> Iterator[str]:
    for name in map(str, config) if isinstance(config, DictConfig) else ():
        yield (full := f"{place}.{name}" if place else str(name))
        yield from _places(config._get_node(name), full)
