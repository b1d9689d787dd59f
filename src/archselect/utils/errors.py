"""Errors that a user can mend, in a sentence: what Hydra refuses, which name was meant; and signals that stop a run."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from threading import Timer
from typing import Any

import hydra.errors
import omegaconf.errors
from omegaconf import DictConfig
from rich.console import Console

from archselect.store import explanation
from archselect.store.redact_paths import override


class UserError(hydra.errors.CompactHydraException):
    """An error that a user can mend: its message says what was expected, what came and what to do."""


@contextmanager
def extra(name: str, choice: str) -> Iterator[None]:
    """Import packages of an extra of pyproject.toml, which a choice needs; a `UserError` names one that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"{choice} needs the package {error.name}, which is not installed: pip install 'archselect[{name}]' "
            f"(or pip install -e '.[{name}]' in a copy of the repository)."
        ) from error


def sentence(error: BaseException) -> str:
    """Return what an error says; of one that no user was meant to see, its kind as well."""
    return str(error) if isinstance(error, hydra.errors.CompactHydraException) else f"{type(error).__name__}: {error}"


def in_a_sentence(error: Exception, composing: bool) -> str | None:
    """Return what a user is told of an error; None: no user can mend it.

    While the config is composed, only the user's words can be wrong.
    """
    if isinstance(error, hydra.errors.MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_choice(error, error.missing_cfg_file)
    if isinstance(error, hydra.errors.OverrideParseException):
        key, _, value = error.override.partition("=")
        if "=" not in error.override:
            return f"{error.override} cannot be read: what is typed behind the command is OPTION=VALUE."
        reason, quoted = str(error).split("\n")[0], shlex.quote(override(key, value))
        return f"{error.override} cannot be read ({reason}). If it is a text, put it into quotes: {quoted}"
    if isinstance(error, hydra.errors.ConfigCompositionException):
        return _composition(error)
    if not is_user_error(error, composing):
        return None
    if lacking := re.search(r"Missing mandatory value: (\S+)", str(error)):
        return f"{lacking[1]} has to be given: {lacking[1]}=... --help says what it is."
    if isinstance(error, OSError) and error.filename is not None:
        where = "Hydra keeps a run's log and config there: set logs=FOLDER to a folder that can be written."
        return f"{explanation(error, Path(error.filename))}\n{where}"
    return "\n".join(_with_cause(error))


def is_user_error(error: Exception, composing: bool) -> bool:
    """Return whether a user can mend an error: what Hydra and OmegaConf say of overrides, and what the disk says.

    Of some overrides, such as search_space=0, Hydra says so by a ValueError or TypeError, which elsewhere is a bug.
    """
    mendable = (hydra.errors.CompactHydraException, omegaconf.errors.OmegaConfBaseException, OSError)
    return isinstance(error, (*mendable, ValueError, TypeError) if composing else mendable)


def reworded(error: BaseException) -> str:
    """Return what an error says; of one in a resolver what that said, without what OmegaConf puts around it."""
    if not isinstance(error, omegaconf.errors.InterpolationResolutionError):
        return str(error)
    return re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).split("\n    full_key:")[0])


def _with_cause(error: Exception) -> list[str]:
    causes = [str(error.__cause__)] if isinstance(error.__cause__, omegaconf.errors.OmegaConfBaseException) else []
    return list(dict.fromkeys([reworded(error), *causes]))


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _missing_choice(error: hydra.errors.MissingConfigException, missing: str) -> str:
    group, _, name = missing.rpartition("/")
    if not group:
        return str(error)
    # Where several choices may be taken, Hydra names none; its message has the folders that it looked in.
    folders = [Path(place) / group for place in re.findall(r"path=file://(.*)", str(error))]
    there = sorted(error.options or [file.stem for folder in folders for file in folder.glob("*.yaml")])
    if not there:
        return f"There is no {group}={name}, nor any other choice of {group}."
    return (
        f"There is no {group}={name}.{_did_you_mean(name, there)} The choices of {group} are {', '.join(there)}; those "
        "of your own lie in the folder that --config-dir names."
    )


LISTS = ("search/part", "trusted")
"""Options without a dot whose value is a list."""


def _composition(error: hydra.errors.ConfigCompositionException) -> str:
    if (several := re.match(r"Ambiguous value for argument '(.*)'\n", str(error))) is not None:
        key, _, values = several[1].partition("=")
        a_list = f"; for a single value that is a list, type '{key}=[{values}]'" if "." in key or key in LISTS else ""
        return f"{several[1]} gives several values. Add -m to run a job for each of them{a_list}."
    cause, unknown = error.__cause__, (omegaconf.errors.ConfigAttributeError, omegaconf.errors.ConfigKeyError)
    if isinstance(cause, unknown) and isinstance(cause.parent_node, DictConfig):
        return _missing_option(cause.parent_node, str(cause.key))
    return " ".join(" ".join(_with_cause(error)).split())


def _missing_option(parent: DictConfig, key: str) -> str:
    place = str(parent._get_full_key(None))
    names = [str(name) for name in parent if name not in ("_target_", "_partial_", "_convert_", "hydra")]
    hint = _did_you_mean(key, names)
    if not hint:
        elsewhere = [one for one in _places(parent._get_root()) if one.rpartition(".")[2] == key]
        hint = f" Did you mean {' or '.join(elsewhere[:3])}?" if elsewhere else ""
    options = f"The options of {place or 'a run'} are {', '.join(names)}." if names else f"{place} has none."
    return f"There is no option {f'{place}.{key}' if place else key}.{hint} {options}"


def _places(config: Any, place: str = "") -> Iterator[str]:
    """Yield the full names of all options in a config, without Hydra's own."""
    for name in map(str, config) if isinstance(config, DictConfig) else ():
        full = f"{place}.{name}" if place else name
        if full != "hydra":
            yield full
            yield from _places(config._get_node(name), full)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)


def _send_again(unraisable: Any) -> None:
    """Send a signal again that came while a `__del__` ran (Lightning's profiler has one), where Python drops errors."""
    if isinstance(unraisable.exc_value, Stopped):
        Timer(0.05, os.kill, (os.getpid(), unraisable.exc_value.args[0])).start()
    else:
        sys.__unraisablehook__(unraisable)


@contextmanager
def stopping_on_signals(console: Console) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly stop: the last checkpoint is kept, the exit code is 128 + signal.

    A handler that is there already stays: in a job of submitit SIGTERM announces a preemption, after which the job is
    requeued or killed, and goes on from its last checkpoint. torchrun sends SIGTERM when it is stopped itself, and when
    another process of the run has failed.
    """
    ours = (signal.SIG_DFL, signal.default_int_handler, _stop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in before.items() if handler in ours}
    for number in taken:
        signal.signal(number, _stop)
    hook, sys.unraisablehook = sys.unraisablehook, _send_again
    try:
        yield
    except Stopped as stopped:
        by = " by torchrun" if stopped.args[0] == signal.SIGTERM and "TORCHELASTIC_RUN_ID" in os.environ else ""
        console.print(f"\nStopped{by}. What is finished is kept; the same command goes on from the last epoch.")
        raise SystemExit(128 + stopped.args[0]) from None
    finally:
        sys.unraisablehook = hook
        for number, handler in taken.items():
            signal.signal(number, handler)
