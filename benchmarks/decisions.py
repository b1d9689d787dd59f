"""Whether other ways to evaluate a supernet lead to the same decisions.

Takes a finished search, scores the operations of every edge as a run does in float32, and then with PyTorch's operators
in place of the compiled loops (on a CPU), in bf16, and on a GPU without TF32 and as CUDA graphs.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from archselect import kernels
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.search_stage import SUPERNET
from archselect.search.data import architecture_images, fixed_batches
from archselect.selection import Score, Scorer, Scoring
from archselect.tasks import Classification
from archselect.training.cuda_graphs import CaptureName, capture_for
from benchmarks.output import show, show_table
from benchmarks.settings import Device, without_tf32

Evaluation = tuple[str, Callable[[], AbstractContextManager[object]], CaptureName]
AS_A_RUN: Evaluation = ("float32", nullcontext, "none")


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
    config: Any = OmegaConf.load(folder / "config.yaml")
    space, method, data = (instantiate(config[group], _convert_="all") for group in ("search_space", "search", "data"))
    supernet = space.supernet(data.image_size, data.classes, method.variant, data.channels)
    supernet.load_state_dict(torch.load(folder / SUPERNET, weights_only=True))
    _, images = architecture_images(data, method, int(config.seed))
    read = islice(fixed_batches(data, images, method.batch_size, torch.device(device), int(config.seed)), batches)
    return FinishedSearch(supernet.to(device).train(), list(read))


def candidates_by_edge(supernet: Supernet) -> Iterator[list[MixtureWeights]]:
    """Yield the candidates of the decision on each edge: the supernet without each of its operations."""
    weights = supernet.mixture_weights().detach()
    for cell, space in supernet.cell_spaces.items():
        for edge, names in enumerate(space.operations):
            if len(names) > 1:
                yield [weights.masked(cell, edge, operation) for operation in range(len(names))]


def others(device: Device) -> list[Evaluation]:
    """Return what is compared with a run in float32."""
    bf16: Evaluation = ("bf16", lambda: torch.autocast(device, torch.bfloat16), "none")
    if device == "cpu":
        return [("PyTorch's operators", kernels.disabled, "none"), bf16]
    return [("without TF32", without_tf32, "none"), ("CUDA graphs", nullcontext, "cuda_graphs"), bf16]


def scored(search: FinishedSearch, evaluation: Evaluation, device: Device) -> list[list[Score]]:
    """Return the scores of the candidates, edge by edge."""
    _, context, name = evaluation
    capture = capture_for(name, torch.device(device), search.supernet)
    scorer = Scorer(search.supernet, Classification(), search.batches, Scoring(), (), (0,), capture)
    with kernels.enabled(), context():
        return [scorer(candidates) for candidates in candidates_by_edge(search.supernet)]


def decision(scores: Sequence[Score], criterion: str) -> int:
    """Return whose removal hurts most; the first wins ties."""
    harm = [-score.metric if criterion == "metric" else score.loss for score in scores]
    return harm.index(max(harm))


def compare(expected: Sequence[Sequence[Score]], found: Sequence[Sequence[Score]]) -> list[str]:
    """Return how many decisions are the same, by each criterion, and the largest relative difference of a loss."""
    edges = list(zip(expected, found, strict=True))
    cells = []
    for criterion in ("metric", "loss"):
        same = sum(decision(one, criterion) == decision(other, criterion) for one, other in edges)
        cells.append(f"{same} of {len(edges)}")
    pairs = [pair for edge in edges for pair in zip(*edge, strict=True)]
    return [*cells, f"{max(abs(one.loss - other.loss) / one.loss for one, other in pairs):.1e}"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("search", type=Path, help="folder of a finished search: logs/stages/search/NAME")
    parser.add_argument("--batches", type=int, help="score on so many batches (default: all)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")


def run(options: Namespace) -> None:
    """Compare and print."""
    search = load_search(options.search, options.batches, options.device)
    expected = scored(search, AS_A_RUN, options.device)
    rows = []
    for evaluation in others(options.device):
        rows.append([evaluation[0], *compare(expected, scored(search, evaluation, options.device))])
    images = sum(len(labels) for _, labels in search.batches)
    show(f"decisions on {len(expected)} edges, scored on {images} images, beside float32 as a run computes it\n")
    show_table(["evaluation", "same by accuracy", "same by loss", "largest difference of losses"], rows)
