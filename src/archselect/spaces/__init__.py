"""Search spaces: data that say what can be chosen, and the two networks built from it."""

from archselect.spaces.darts import DartsSpace
from archselect.spaces.nasbench201 import NASBench201Space
from archselect.spaces.space import SearchSpace

__all__ = ["DartsSpace", "NASBench201Space", "SearchSpace"]
