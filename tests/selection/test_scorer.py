from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.models.own_parts import Dropped
from tests.selection.small_cells import leaves_no_trace, norms
from torch import Tensor

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import PartialForward, Supernet
from archselect.search_spaces import DartsSpace
from archselect.selection import Score, Scorer, Scoring
from archselect.tasks import Classification

Batches = list[tuple[Tensor, Tensor]]
CLASSES = 3


def batches(sizes: tuple[int, ...] = (5, 5, 2), seed: int = 0) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 3, 8, 8, generator=generator), torch.randint(CLASSES, (size,), generator=generator))
        for size in sizes
    ]


IMAGES, CALIBRATION = batches(), batches((4, 4, 4), seed=1)


def plain() -> Supernet:
    """One cell type of two nodes; its statistics have seen some images."""
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (("skip_connect", "nor_conv_1x1", "avg_pool_3x3"),) * 3)
    torch.manual_seed(1)
    return trained(NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=CLASSES))


def noisy() -> Supernet:
    """Two cell types with the operations of S4."""
    topology = CellTopology(2, 2, "concat", 2)
    cells = {name: CellSpace(name, topology, (("noise", "sep_conv_3x3"),) * 5) for name in ("normal", "reduction")}
    torch.manual_seed(1)
    return trained(DartsSupernet(cells, channels=2, layers=3, classes=CLASSES))


def dropping() -> Supernet:
    """Its head has dropout."""
    torch.manual_seed(1)
    space = DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=2, layers=3, head=Dropped)
    return trained(space.supernet(8, CLASSES))


def trained(supernet: Supernet) -> Supernet:
    with torch.no_grad():
        for images, _ in batches((6, 6), seed=2):
            supernet(images)
    return supernet


def scorer(supernet: Supernet, images: Any = IMAGES, **scoring: Any) -> Scorer:
    return Scorer(supernet, Classification(), images, Scoring(**scoring), CALIBRATION, (0, "selection"))


def candidates(supernet: Supernet) -> list[MixtureWeights]:
    name = next(iter(supernet.cell_spaces))
    weights = supernet.mixture_weights().detach()
    return [weights, weights.masked(name, 0, 0), weights.masked(name, 1, 1), weights.masked(name, 2)]


def by_a_plain_loop(supernet: Supernet, weights: MixtureWeights, images: Batches) -> tuple[float, float]:
    """Accuracy and mean cross-entropy over all images, in the mode that the supernet is in."""
    correct, loss, count = 0, 0.0, 0
    with torch.no_grad():
        for x, y in images:
            logits = supernet(x, weights)
            correct += int((logits.argmax(dim=1) == y).sum())
            loss += float(F.cross_entropy(logits, y)) * len(y)
            count += len(y)
    return correct / count, loss / count


def pairs(scores: list[Score]) -> list[tuple[float, float]]:
    return [(score.metric, score.loss) for score in scores]


def approximately(expected: list[tuple[float, float]]) -> list[Any]:
    return [pytest.approx(pair, rel=1e-5) for pair in expected]


@pytest.mark.parametrize(("batch_norm", "training"), [("batch", True), ("running", False)])
def test_scores_are_those_of_a_plain_loop_with_the_statistics_of_the_batch_or_of_training(
    batch_norm: str, training: bool
) -> None:
    supernet, other = plain(), plain().train(training)
    expected = [by_a_plain_loop(other, weights, IMAGES) for weights in candidates(other)]
    assert pairs(scorer(supernet, batch_norm=batch_norm)(candidates(supernet))) == approximately(expected)
    assert len({loss for _, loss in expected}) == 4, "each candidate has a score of its own"


def statistics(supernet: Supernet, weights: MixtureWeights, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of one batch at every normalisation: with momentum 1 nothing of what was before is left."""
    for norm in norms(supernet):
        norm.momentum = 1.0
    with torch.no_grad():
        supernet.train()(images, weights)
    return [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms(supernet)]  # type: ignore[union-attr]


def calibrated_by_hand(supernet: Supernet, weights: MixtureWeights, images: Batches) -> Supernet:
    """Set the running statistics to the mean over the batches, evaluated one by one."""
    of_batches = [statistics(supernet, weights, x) for x, _ in images]
    for index, norm in enumerate(norms(supernet)):
        mean, variance = (
            torch.stack(values).mean(dim=0) for values in zip(*[s[index] for s in of_batches], strict=True)
        )
        norm.running_mean, norm.running_var = mean, variance
    return supernet.eval()


@pytest.mark.parametrize("read", [2, 3, 20], ids="{} of 3 calibration batches".format)
def test_recalibrated_statistics_are_the_means_over_the_calibration_batches(read: int) -> None:
    supernet, other = plain(), plain()
    expected = [
        by_a_plain_loop(calibrated_by_hand(other, weights, CALIBRATION[:read]), weights, IMAGES)
        for weights in candidates(other)[:2]
    ]
    found = scorer(supernet, batch_norm="recalibrated", recalibration_batches=read)(candidates(supernet)[:2])
    assert pairs(found) == approximately(expected)


@pytest.mark.parametrize("make", [plain, noisy])
@pytest.mark.parametrize("batch_norm", ["batch", "running", "recalibrated"])
def test_scoring_leaves_no_trace(make: Any, batch_norm: str) -> None:
    supernet = make().eval()
    with leaves_no_trace(supernet):
        scorer(supernet, batch_norm=batch_norm)(candidates(supernet))


def test_scoring_reads_the_first_so_many_batches() -> None:
    supernet = plain()
    assert scorer(supernet, batches=2)(candidates(supernet)) == scorer(supernet, IMAGES[:2])(candidates(supernet))
    assert scorer(supernet, batches=2)(candidates(supernet)) != scorer(supernet)(candidates(supernet))
    assert scorer(supernet, batches=9)(candidates(supernet)) == scorer(supernet)(candidates(supernet))


@pytest.mark.parametrize("make", [noisy, dropping])
@pytest.mark.parametrize("batch_norm", ["batch", "recalibrated"])
def test_candidates_see_the_same_noise(make: Any, batch_norm: str) -> None:
    supernet = make()
    weights = supernet.mixture_weights().detach()
    first, other, again = scorer(supernet, batch_norm=batch_norm)([weights, weights.masked("normal", 0, 1), weights])
    assert first == again != other


class Drawing(Supernet):
    """Its logits are random numbers, which it remembers; the first of its two layers is shared by all candidates."""

    _new_network = _counterparts = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__({"cell": CellSpace("cell", CellTopology(1, 1, "last", None), (("skip_connect", "noise"),))})
        self.begun: list[Tensor] = []
        self.finished: list[Tensor] = []

    def layers_before(self, cells: Any) -> int:
        return 1

    def forward_prefix(self, x: Tensor, mixtures: Any, layers: int) -> Any:
        assert layers == 1
        self.begun.append(torch.randn(len(x), CLASSES))
        return PartialForward(1, ())

    def forward_suffix(self, begun: Any, mixtures: Any) -> Tensor:
        self.finished.append(torch.randn(len(self.begun[-1]), CLASSES))
        return self.finished[-1]


def test_every_candidate_sees_the_same_random_numbers_and_every_batch_has_its_own() -> None:
    supernet = Drawing()
    weights = supernet.mixture_weights().detach()
    scorer(supernet)([weights, weights.masked("cell", 0, 0), weights.masked("cell", 0, 1)])
    of_batches = [supernet.finished[start : start + 3] for start in (0, 3, 6)]
    assert all(torch.equal(x, y) and torch.equal(x, z) for x, y, z in of_batches)
    assert len(supernet.begun) == 3, "what the candidates share is evaluated once per batch"
    drawn = [*supernet.begun, *(numbers for numbers, *_ in of_batches)]
    assert len({float(numbers[0, 0]) for numbers in drawn}) == 6


def test_a_supernet_that_was_decided_to_be_empty_is_scored_like_any_other() -> None:
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (("none", "skip_connect"),) * 3)
    supernet = NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=CLASSES)
    decisions = supernet.decisions["cell"]
    for edge in range(3):
        decisions = decisions.keep_operation(edge, 0)
    supernet.decisions = {"cell": decisions}
    (score,) = scorer(supernet)([supernet.mixture_weights()])
    assert score.loss > 0


# What cannot be


def test_without_images_there_is_nothing_to_score_on() -> None:
    supernet = plain()
    with pytest.raises(ValueError, match="There is no image to score on"):
        scorer(supernet, [])(candidates(supernet))


def test_a_supernet_that_diverged_is_not_compared() -> None:
    supernet = plain()
    supernet.classifier.weight.data.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="loss is not a finite number"):
        scorer(supernet)(candidates(supernet))
