"""Whether other ways to evaluate a supernet lead to the same decisions: `python -m tests.speed.decisions FOLDER`.

Takes a finished search, scores the operations of every edge as a run does in float32, and then with PyTorch's operators
in place of the compiled loops (on a CPU), in bf16, and on a GPU without TF32 and as CUDA graphs.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from archselect import kernels
from archselect.selection import Score, Scorer, Scoring
from archselect.training.cuda_graphs import CaptureName, capture_for

from .conditions import Device
from .finished_search import FinishedSearch, load_search, rounds_of
from .table import aligned, show

Evaluation = tuple[str, Callable[[], AbstractContextManager[object]], CaptureName]
AS_A_RUN: Evaluation = ("float32", nullcontext, "none")


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute convolutions in full float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def others(device: Device) -> list[Evaluation]:
    """Return what is compared with a run in float32."""
    bf16: Evaluation = ("bf16", lambda: torch.autocast(device, torch.bfloat16), "none")
    if device == "cpu":
        return [("PyTorch's operators", kernels.disabled, "none"), bf16]
    return [("without TF32", without_tf32, "none"), ("CUDA graphs", nullcontext, "cuda_graphs"), bf16]


def scored(search: FinishedSearch, evaluation: Evaluation, device: Device) -> list[list[Score]]:
    """Return the scores of the candidates, edge by edge."""
    _, context, capture = evaluation
    scorer = Scorer(
        search.supernet,
        search.batches,
        Scoring(),
        (),
        (0,),
        capture_for(capture, torch.device(device), search.supernet),
    )
    with kernels.enabled(), context():
        return [scorer(candidates) for candidates in rounds_of(search.supernet)]


def decision(scores: Sequence[Score], criterion: str) -> int:
    """Return whose removal hurts most; the first wins ties."""
    harm = [-score.accuracy if criterion == "accuracy" else score.loss for score in scores]
    return harm.index(max(harm))


def compare(expected: Sequence[Sequence[Score]], found: Sequence[Sequence[Score]]) -> list[str]:
    """Return how many decisions are the same, by each criterion, and the largest relative difference of a loss."""
    cells = []
    for criterion in ("accuracy", "loss"):
        pairs = zip(expected, found, strict=True)
        same = sum(decision(one, criterion) == decision(other, criterion) for one, other in pairs)
        cells.append(f"{same} of {len(expected)}")
    both = [
        (a.loss, b.loss) for one, other in zip(expected, found, strict=True) for a, b in zip(one, other, strict=True)
    ]
    return [*cells, f"{max(abs(a - b) / a for a, b in both):.1e}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.decisions", description=__doc__)
    parser.add_argument("search", type=Path, help="folder of a finished search: logs/stages/search/NAME")
    parser.add_argument("--batches", type=int, help="score on so many batches (default: all)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        search = load_search(options.search, options.batches, options.device)
    except ValueError as error:
        sys.exit(str(error))
    expected = scored(search, AS_A_RUN, options.device)
    rows = [["evaluation", "same by accuracy", "same by loss", "largest difference of losses"]]
    for evaluation in others(options.device):
        rows.append([evaluation[0], *compare(expected, scored(search, evaluation, options.device))])
    images = sum(len(labels) for _, labels in search.batches)
    show(f"decisions on {len(expected)} edges, scored on {images} images, beside float32 as a run computes it\n")
    show(aligned(rows))


if __name__ == "__main__":
    main()
