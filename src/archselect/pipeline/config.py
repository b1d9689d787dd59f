"""From a composed Hydra config to the parts of a run, checked before any long work starts."""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from archselect.data import ImageData
from archselect.evaluation import Evaluation
from archselect.figures.style import formats_of
from archselect.genotype import Genotype
from archselect.pipeline.own_code import own_sources
from archselect.search import SearchMethod
from archselect.search_spaces import SearchSpace, instantiate_but_for, instantiate_space
from archselect.selection import Selector
from archselect.store import explanation
from archselect.tasks import Task
from archselect.training.devices import TrainerFactory
from archselect.utils.errors import UserError, reworded
from archselect.utils.validation import NON_NEGATIVE_INT

GROUPS = ("search_space", "search", "selection", "evaluation", "data", "task", "trainer")
"""The groups of the config that a run is made of."""


@dataclass(frozen=True)
class Components:
    """What the config describes, ready to work."""

    seed: int
    genotype: Genotype | None
    formats: tuple[str, ...]
    space: SearchSpace
    search: SearchMethod
    selection: Selector
    evaluation: Evaluation
    data: ImageData
    task: Task
    trainer: TrainerFactory


@contextmanager
def as_user_error() -> Iterator[None]:
    """Turn the errors that a user can mend into `UserError`."""
    try:
        yield
    except (ValueError, OSError) as error:  # one of a resolver is a ValueError too
        sentence = reworded(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is not None:
            sentence = explanation(error, Path(error.filename))
        raise UserError(sentence) from error


def check_groups(config: DictConfig) -> None:
    """Raise a `UserError` unless every group is there, with the class that its choice names."""
    for group in GROUPS:
        part = config.get(group)
        if not isinstance(part, DictConfig) or "_target_" not in part:
            raise UserError(f"{group} must be one of the choices in configs/{group}/; got {part}.")


def instantiate_parts(config: DictConfig) -> Components:
    """Build every part of the run; a `UserError` says which option makes no sense and why."""
    with as_user_error():
        NON_NEGATIVE_INT.check("seed", config.seed)
    for option in ("name", "logs"):
        value = config[option]
        if not isinstance(value, str) or not value.strip() or (option == "name" and "/" in value):
            raise UserError(f"{option} must be the name of a folder; got {value!r}.")
    if OmegaConf.is_missing(config.protocol, "authors_of"):  # it would go unnoticed
        raise UserError(
            f"protocol={config.protocol.name} has no constants for search={config.search.name}: there is no "
            "configs/protocol/search/authors/METHOD.yaml for it. Write one, beginning with protocol: {authors_of: "
            "METHOD}, or leave protocol=authors out."
        )
    parts = [instantiate_part(config, group) for group in GROUPS]
    with as_user_error():
        genotype = None if config.genotype is None else Genotype.parse(str(config.genotype))
    return Components(config.seed, genotype, figure_formats(config), *parts)


def instantiate_part(config: DictConfig, group: str) -> Any:
    """Build what a group of the config describes; a `UserError` says which option makes no sense."""
    try:
        if group == "search_space":
            return instantiate_space(config[group])
        if group == "evaluation":
            return instantiate_but_for(config[group], ("network",))
        return instantiate(config[group], _convert_="all")
    except InstantiationException as error:
        cause: BaseException = error  # Hydra wraps what a constructor says; the reader needs the constructor's sentence
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        sentence = str(cause) if str(cause).startswith(f"{group}.") else f"{group}: {cause}"
        if isinstance(cause, TypeError):  # of the call: constructors say by a ValueError what they do not take
            sentence += f". The options that there are stand in configs/{group}/."
            if "'part'" in sentence:
                sentence += " The file of a part begins with the line: # @package search"
        raise UserError(sentence) from error


def figure_formats(config: DictConfig) -> tuple[str, ...]:
    """Return the formats of the figures, from `figures.format`; a `UserError` says which is not known."""
    with as_user_error():
        return formats_of(to_plain_dict(config.figures)["format"])


def to_plain_dict(config: DictConfig, *without: str) -> dict[str, Any]:
    """Return a group of the config, resolved, as plain data, without some of its keys."""
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items() if key not in without}


def folder_label(*parts: str | int) -> str:
    """Return a name for a folder made of `parts`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(map(str, parts))).strip("-.")[:160]


def identity_of(config: DictConfig, data_fingerprint: str, parts_of_batch: int = 1) -> Mapping[str, dict[str, Any]]:
    """Return, per stage, the parts of the config that determine its result.

    Names, paths, devices and loggers do not; the precision does, and what the files of a user's own classes hold. Into
    how many parts a batch is cut does where each is normalised by itself.
    """
    # The images in the fingerprint determine a mean and std that are measured: null in the config, null here.
    # Where images are kept changes nothing; a file that breaks stops a run, or another stands for it from then on.
    named = ("name", "path", "source", "train_subset", "class_names", "published", "channels", "center_crop")
    reading = ("storage", "workers", "on_broken")
    data = {**to_plain_dict(config.data, *named, *reading), "fingerprint": data_fingerprint}
    usual = {"crop": "padded", "color_jitter": None}  # what all had before there was a choice
    data = {name: value for name, value in data.items() if not (name in usual and value == usual[name])}
    task, precision = to_plain_dict(config.task, "name"), str(config.trainer.precision)
    common = {"seed": config.seed, "task": task, "precision": precision}
    if parts_of_batch > 1:
        common["batch_norm"] = f"of each of {parts_of_batch} parts of a batch"
    space = to_plain_dict(config.search_space, "name")
    of_space = [space["_target_"], *(space[name] for name in ("stem", "head") if name in space)]
    search = to_plain_dict(config.search, "name", "capture", "recompute")
    if (cost := search.pop("cost", None)) is not None:  # the plan says of which networks, and what is in the table
        search["cost"] = {name: value for name, value in cost.items() if name != "latency_table"}
    selection = to_plain_dict(config.selection, "name", "limit")
    evaluation = to_plain_dict(config.evaluation, "name", "table", "capture")
    # Of operations an evaluation knows those of its architecture; see `plan`.
    skeleton = {key: value for key, value in space.items() if key not in ("operations", "operations_of")}
    images = to_plain_dict(config.data)
    return {
        "search": {
            **common,
            "space": space,
            "search": search,
            "data": data,
            **own_sources(space, search, images, task),
        },
        "selection": {**common, "selection": selection, **own_sources(selection, task)},
        "evaluation": {
            **common,
            "space": of_space,
            "evaluation": evaluation,
            "data": data,
            **own_sources(skeleton, evaluation, images, task),
        },
    }
