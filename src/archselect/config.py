"""From a composed Hydra config to the parts of a run, checked before any long work starts."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from rich.console import Console

from archselect.data import ImageData
from archselect.errors import RunError as RunError
from archselect.evaluation.method import Evaluation
from archselect.figures.formats import formats_of
from archselect.genotype import Genotype
from archselect.search import SearchMethod
from archselect.selection import Selector
from archselect.spaces import SearchSpace
from archselect.stages.fitting import TrainerFactory
from archselect.stopping import stopping_on_signals
from archselect.store import explanation


@dataclass(frozen=True)
class Parts:
    """What the config describes, ready to work."""

    seed: int
    space: SearchSpace
    search: SearchMethod
    selection: Selector
    evaluation: Evaluation
    data: ImageData
    trainer: TrainerFactory
    genotype: Genotype | None
    formats: tuple[str, ...] = ("png",)


def protocol_for(search_space: str, data: str) -> str:
    """Return the evaluation that suits a space and data set where the user names none.

    NAS-Bench-201 cells found on CIFAR are looked up; the DARTS family is retrained at full size on CIFAR-10 and small
    elsewhere.
    """
    if search_space == "nasbench201":
        return "nasbench201" if data in ("cifar10", "cifar100") else "retrain_nasbench201"
    return {"cifar10": "retrain_cifar10", "digits": "retrain_digits"}.get(data, "retrain_small")


def register_resolvers() -> None:
    """Make `${archselect.protocol:SPACE,DATA}` known; the defaults list of `train.yaml` uses it."""
    OmegaConf.register_new_resolver("archselect.protocol", protocol_for, replace=True)


register_resolvers()  # here: a job of a sweep may begin in a process that never runs train.py


def instantiate_parts(config: DictConfig) -> Parts:
    """Build every part of the run.

    Raises:
        RunError: An option makes no sense; the message says which and why.
    """
    seed = config.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise RunError(f"seed must be a whole number, 0 or more; got {seed!r}.")
    for option in ("name", "logs"):
        value = config[option]
        if not isinstance(value, str) or not value.strip() or (option == "name" and "/" in value):
            raise RunError(f"{option} must be the name of a folder; got {value!r}.")
    groups = ("search_space", "search", "selection", "evaluation", "data", "trainer")
    space, search, selection, evaluation, data, trainer = (instantiate_part(config, group) for group in groups)
    with readable():
        genotype = None if config.genotype is None else Genotype.parse(str(config.genotype))
    return Parts(seed, space, search, selection, evaluation, data, trainer, genotype, figure_formats(config))


def figure_formats(config: DictConfig) -> tuple[str, ...]:
    """Return the formats of the figures, from `figures.format`; a `RunError` says which is not known."""
    with readable():
        return formats_of(plain(config.figures)["format"])


def instantiate_part(config: DictConfig, group: str) -> Any:
    """Build what a group of the config describes; a `RunError` says which option makes no sense."""
    try:
        return instantiate(config[group], _convert_="all")
    except InstantiationException as error:
        # Hydra wraps what a constructor says; the reader needs the constructor's sentence.
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        sentence = str(cause) if str(cause).startswith(f"{group}.") else f"{group}: {cause}"
        if "unexpected keyword argument" in sentence:
            sentence += f". There is no such option; configs/{group}/ shows those there are."
        raise RunError(sentence) from error


def plain(config: DictConfig, *without: str) -> dict[str, Any]:
    """Return a group of the config, resolved, as plain data, without some of its keys."""
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items() if key not in without}


def folder_label(*parts: str | int) -> str:
    """Return a name for a folder made of `parts`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(str(part) for part in parts)).strip("-.")[:160]


def launch(main: Callable[[], Any]) -> None:
    """Run a Hydra main; show an error that a user can mend as a sentence and leave with exit code 1.

    Ctrl-C and SIGTERM stop it, a sweep with all its jobs. Other errors, and with HYDRA_FULL_ERROR=1 all of them, keep
    their traceback.
    """
    traceback_wanted = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors on instead of printing tracebacks of its own
    try:
        with stopping_on_signals(Console(highlight=False)):
            main()
    except Exception as error:
        if traceback_wanted or not said_in_a_sentence(error):
            raise
        causes = [_own_words(error)]
        if isinstance(error.__cause__, OmegaConfBaseException) and str(error.__cause__) not in causes:
            causes.append(str(error.__cause__))
        if isinstance(error, OSError) and error.filename is not None:
            where = "Hydra keeps a run's log and config there: set logs=FOLDER to a folder that can be written."
            causes = [explanation(error, Path(error.filename)), where]
        sys.stderr.write("\nError: " + "\n".join(causes) + "\n(HYDRA_FULL_ERROR=1 shows the traceback.)\n")
        raise SystemExit(1) from None


def said_in_a_sentence(error: Exception) -> bool:
    """Return whether a user can mend an error: what Hydra and OmegaConf say of overrides, and what the disk says."""
    if isinstance(error, CompactHydraException | OmegaConfBaseException | OSError):
        return True
    # Of some overrides, such as search_space=0, Hydra says so by a ValueError; those of this project are bugs here.
    last = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        last = frame
    return isinstance(error, ValueError) and last is not None and last.f_globals["__name__"].startswith("hydra.")


def _own_words(error: BaseException) -> str:
    """Return what an error says; of one in a resolver what that said, without what OmegaConf puts around it."""
    if not isinstance(error, InterpolationResolutionError):
        return str(error)
    return re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).split("\n    full_key:")[0])


@contextmanager
def readable(what: str = "") -> Iterator[None]:
    """Turn the errors that a user can mend into `RunError`."""
    try:
        yield
    except (ValueError, OSError) as error:  # one of a resolver is a ValueError too
        sentence = _own_words(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is not None:
            sentence = explanation(error, Path(error.filename))
        raise RunError(f"{what}{sentence}") from error


def identity_of(config: DictConfig, data_fingerprint: str, parts_of_batch: int = 1) -> Mapping[str, dict[str, Any]]:
    """Return, per stage, the parts of the config that determine its result.

    Names, paths, devices and loggers do not; the precision does. Into how many parts a batch is cut does where each is
    normalised by itself.
    """
    data = {**plain(config.data, "name", "path", "source", "train_subset"), "fingerprint": data_fingerprint}
    common = {"seed": config.seed, "precision": str(config.trainer.precision)}
    if parts_of_batch > 1:
        common["batch_norm"] = f"of each of {parts_of_batch} parts of a batch"
    space = plain(config.search_space, "name", "protocol")
    search = plain(config.search, "name", "capture", "recompute")
    if search.get("snapshots") is None:
        search.pop("snapshots", None)  # so that searches from before there were snapshots are found
    return {
        "search": {
            **common,
            "space": space,
            "search": search,
            "data": data,
        },
        "selection": {**common, "selection": plain(config.selection, "name")},
        "evaluation": {
            **common,
            "space": space["_target_"],
            "evaluation": plain(config.evaluation, "name", "table", "capture"),
            "data": data,
        },
    }
