"""A search space from its part of the config."""

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from archselect.search_spaces.base import SearchSpace

MADE_BY_THE_SPACE = ("operations", "operations_of")
"""Options whose `_target_`s the space makes, one on each edge; all others Hydra makes, once."""


def instantiate_space(config: DictConfig) -> SearchSpace:
    """Return what `hydra.utils.instantiate` makes of a config but for its operations; raises what that raises."""
    operations = {
        name: OmegaConf.to_container(config[name], resolve=True)
        for name in MADE_BY_THE_SPACE
        if OmegaConf.is_config(config.get(name))
    }
    make = instantiate(config, _convert_="all", _partial_=True, **dict.fromkeys(operations))
    try:
        space: SearchSpace = make(**operations)
    except Exception as error:
        raise InstantiationException(f"{config['_target_']}: {error}") from error
    return space
