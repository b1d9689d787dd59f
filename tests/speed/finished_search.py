"""A finished search: its supernet, its scoring batches, and the candidates of every decision."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.search_stage import SUPERNET
from archselect.search.data import architecture_images, fixed_batches


@dataclass(frozen=True)
class FinishedSearch:
    """A trained supernet, and batches of the images that it is scored on."""

    supernet: Supernet
    batches: list[tuple[Tensor, Tensor]]


def load_search(folder: Path, batches: int | None, device: str = "cpu") -> FinishedSearch:
    """Return the search of a folder of the store, with so many scoring batches (None: all).

    Raises:
        ValueError: It is no folder of a finished search.
    """
    if not (folder / "finished.json").is_file() or not (folder / SUPERNET).is_file():
        raise ValueError(f"{folder} is no folder of a finished search; name one in logs/stages/search.")
    config = OmegaConf.load(folder / "config.yaml")
    space, method, data = (instantiate(config[group], _convert_="all") for group in ("search_space", "search", "data"))
    supernet = space.supernet(data.image_size, data.classes, method.variant)
    supernet.load_state_dict(torch.load(folder / SUPERNET, weights_only=True))
    _, images = architecture_images(data, method, int(config.seed))
    read = islice(fixed_batches(data, images, method.batch_size, torch.device(device), int(config.seed)), batches)
    return FinishedSearch(supernet.to(device).train(), list(read))


def rounds_of(supernet: Supernet) -> Iterator[list[MixtureWeights]]:
    """Yield the candidates of the decision on each edge: the supernet without each of its operations."""
    weights = supernet.mixture_weights().detach()
    for cell, space in supernet.cell_spaces.items():
        for edge, candidates in enumerate(space.operations):
            if len(candidates) > 1:
                yield [weights.masked(cell, edge, operation) for operation in range(len(candidates))]
