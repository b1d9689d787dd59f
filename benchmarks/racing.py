"""How often a race ends with the decision of full scoring, and after what share of its passes.

Takes a finished search, scores the operations of every edge on all scoring batches once, batch by batch, and replays
the races on what was counted. Where the scoring images are few, races over as many batches as the real protocol has are
drawn from them with replacement.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from archselect import kernels
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Racing, SuccessiveElimination
from archselect.selection.scoring import Criterion, eliminated
from benchmarks.decisions import candidates_by_edge, load_search
from benchmarks.output import show, show_table

CRITERIA: tuple[Criterion, ...] = ("metric", "loss")
CONFIDENCES = (0.95, 0.98, 0.99, 0.999)


@torch.no_grad()
def counted(
    supernet: Supernet, candidates: Sequence[MixtureWeights], batches: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """Return metric and loss of each candidate on each batch, `(batches, candidates, 2)`."""
    rows = []
    for images, labels in batches:
        with kernels.enabled():
            logits = [supernet(images, weights) for weights in candidates]
        accuracies = [(one.argmax(dim=1) == labels).double().mean() for one in logits]
        losses = [F.cross_entropy(one, labels).double() for one in logits]
        rows.append(torch.stack([torch.stack(accuracies), torch.stack(losses)], dim=1))
    return torch.stack(rows).cpu()


def replay(scores: Tensor, race: SuccessiveElimination, racing: Racing) -> tuple[int, float]:
    """Return who wins the race and the share of the passes that it took."""
    batches, runners, _ = scores.shape
    leads = race.lead(scores)
    running, read = list(range(runners)), [batches] * runners
    for check in racing.checks():
        if check >= batches or len(running) == 1:
            break
        for runner, out in zip(list(running), eliminated(leads[:check, running], racing.confidence), strict=True):
            if out:
                running.remove(runner)
                read[runner] = check
        if len(running) == 1:
            read[running[0]] = check
    winner = max(running, key=lambda runner: float(leads[:, runner].mean()))
    return winner, sum(read) / (batches * runners)


def compare(scores: Sequence[Tensor], criterion: Criterion, racing: Racing, batches: int, draws: int) -> list[str]:
    """Return how often the race is right, and its share of the passes, as cells of a table."""
    right, share, count = 0, 0.0, 0
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        for of_edge in scores:
            drawn = len(of_edge) < batches
            chosen = of_edge[torch.randint(len(of_edge), (batches,), generator=generator)] if drawn else of_edge
            race = SuccessiveElimination(criterion, "max", of_edge.shape[1])
            winner, passes = replay(chosen, race, racing)
            right += winner == int(race.lead(chosen).mean(dim=0).argmax())
            share += passes
            count += 1
    return [criterion, f"{racing.confidence:g}", str(count), f"{right / count:.1%}", f"{share / count:.1%}"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("search", type=Path, help="folder of a finished search: logs/stages/search/NAME")
    parser.add_argument("--batches", type=int, help="score on so many batches (default: all)")
    parser.add_argument("--of", type=int, help="batches of a full pass (default: as many as are scored on)")
    parser.add_argument("--draws", type=int, default=50, help="races per edge if --of is more (default: %(default)s)")


def run(options: Namespace) -> None:
    """Measure and print."""
    search = load_search(options.search, options.batches)
    batches, size = len(search.batches), len(search.batches[0][1])
    edges = candidates_by_edge(search.supernet)
    scores = [counted(search.supernet, candidates, search.batches) for candidates in edges]
    of = options.of or batches
    draws = 1 if of <= batches else options.draws
    show(f"{len(scores)} edges, scored on {batches} batches of {size}; races over {of} batches\n")
    rows = []
    for criterion in CRITERIA:
        rows += [compare(scores, criterion, Racing(confidence=one), of, draws) for one in CONFIDENCES]
    show_table(["criterion", "confidence", "races", "same decision", "passes"], rows)
