"""Which supernet is timed, of what size, with how many decisions made."""

from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from archselect.models.supernet.supernet import Supernet
from archselect.search import SearchMethod
from archselect.search_spaces import SearchSpace

CONFIGS = Path(__file__).parents[2] / "configs"
SUPERNETS = ("darts", "s1", "s2", "s3", "nasbench201")  # not s4: two sides that draw noise cannot be compared
IMAGE_SIZE, CLASSES = 32, 10


@dataclass(frozen=True)
class Setting:
    """A supernet on images of 32x32.

    Attributes:
        supernet: A file of `configs/search_space`.
        channels: C; None: as configured.
        depth: `layers`, or `cells_per_stage` of NAS-Bench-201; None: as configured.
        decided: Share of the edges that are decided, spread over the cell and over the candidate operations.
    """

    supernet: str
    channels: int | None = None
    depth: int | None = None
    decided: float = 0.0

    def space(self) -> SearchSpace:
        """Return the search space in this size; a ValueError if it has none of this size."""
        config = self._config.search_space
        if self.channels is not None:
            config.channels = self.channels
        if self.depth is not None:
            config["cells_per_stage" if "cells_per_stage" in config else "layers"] = self.depth
        try:
            space: SearchSpace = instantiate(config, _convert_="all")
        except InstantiationException as error:
            raise ValueError(str(error.__cause__)) from error  # the space's own sentence
        return space

    def method(self) -> SearchMethod:
        """Return the search method that `train.py` takes by default."""
        method: SearchMethod = instantiate(self._config.search, _convert_="all")
        return method

    def build(self) -> Supernet:
        """Return the supernet, with the same weights at every call."""
        torch.manual_seed(0)
        supernet = self.space().supernet(IMAGE_SIZE, CLASSES)
        decide(supernet, self.decided)
        return supernet

    @property
    def _config(self) -> DictConfig:
        groups = {"search_space": self.supernet, "search": "darts"}
        return OmegaConf.create({group: OmegaConf.load(CONFIGS / group / f"{of}.yaml") for group, of in groups.items()})


def decide(supernet: Supernet, share: float) -> None:
    """Decide that share of the edges of every cell type: evenly spread ones, each for another candidate in turn."""
    decided = dict(supernet.decisions)
    for cell, space in supernet.cell_spaces.items():
        edges = len(space.operations)
        count = round(share * edges)
        for edge in (number * edges // count for number in range(count)):
            decided[cell] = decided[cell].keep_operation(edge, edge % len(space.operations[edge]))
    supernet.decisions = decided
