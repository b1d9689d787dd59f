"""A search space from its part of the config, and other parts of which something is made later."""

from collections.abc import Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from archselect.search_spaces.base import SearchSpace

MADE_BY_THE_SPACE = ("operations", "operations_of", "stem", "head")
"""Options whose `_target_`s the space makes, when their sizes are known; all others Hydra makes."""


def instantiate_space(config: DictConfig) -> SearchSpace:
    """Return the search space of a config; raises what `hydra.utils.instantiate` raises."""
    space: SearchSpace = instantiate_but_for(config, MADE_BY_THE_SPACE)
    return space


def instantiate_but_for(config: DictConfig, later: Sequence[str]) -> Any:
    """Return what `hydra.utils.instantiate` makes of a config, which is given some options as plain data."""
    plain = {
        name: OmegaConf.to_container(config[name], resolve=True)
        for name in later
        if OmegaConf.is_config(config.get(name))
    }
    make = instantiate(config, _convert_="all", _partial_=True, **dict.fromkeys(plain))
    try:
        return make(**plain)
    except Exception as error:
        raise InstantiationException(f"{config['_target_']}: {error}") from error
