"""Search spaces: data that say what can be chosen, and the two networks built from it."""

from archselect.search_spaces.base import SearchSpace
from archselect.search_spaces.darts import DartsSpace
from archselect.search_spaces.from_config import instantiate_but_for, instantiate_space
from archselect.search_spaces.nasbench201 import NASBench201Space

__all__ = ["DartsSpace", "NASBench201Space", "SearchSpace", "instantiate_but_for", "instantiate_space"]
