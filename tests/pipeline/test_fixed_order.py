"""What is validated, scored and analysed is read in one random order, whatever the order of the data set."""

from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.evaluation.test_retrain_module import protocol
from tests.search import small_search
from torch import Tensor
from torch.nn import functional as F

from archselect.analysis.base import Measurer
from archselect.data import Augmentation, ImageTensors, Normalisation
from archselect.pipeline.evaluation_stage import retraining_loaders
from archselect.pipeline.selection_stage import scorer_of
from archselect.search.data import fixed_batches, search_loaders
from archselect.selection import Scorer, Scoring
from archselect.tasks import Classification

CLASSES = small_search.CLASSES
CPU = torch.device("cpu")
METHOD = small_search.method(batch_size=32)


def by_class(per_class: int = 400) -> ImageTensors:
    """Noisy images one class after the other; a class is a colour."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    colours = 60 * F.one_hot(labels, CLASSES)[:, :3].view(-1, 3, 1, 1)
    noise = torch.randint(120, (len(labels), 3, 8, 8), generator=generator)
    return ImageTensors((colours + noise).to(torch.uint8), labels)


def job_of(images: ImageTensors, seed: int = 0) -> Any:
    normalisation = Normalisation((0.35, 0.35, 0.35), (0.25, 0.25, 0.25))
    given: Any = {"normalisation": normalisation, "augmentation": partial(Augmentation, 1, True)}
    data = SimpleNamespace(train=images, test=images, classes=CLASSES, **given)
    return SimpleNamespace(seed=seed, data=data, fitted_task=Classification())


def bench_of(job: Any) -> Measurer:
    parts = SimpleNamespace(data=job.data, search=METHOD, seed=job.seed)
    context: Any = SimpleNamespace(run=SimpleNamespace(parts=parts), job=job)
    trainer: Any = SimpleNamespace(device=CPU)
    return Measurer(context, trainer)


def scorer(job: Any, **scoring: Any) -> Scorer:
    return scorer_of(small_search.cell_supernet("skip_connect"), job, METHOD, Scoring(**scoring), CPU)


def validation(job: Any, held_out: float = 0.0) -> Iterable[tuple[Tensor, Tensor]]:
    batches = search_loaders(job.data, METHOD, CPU, job.seed, "selection", held_out).val
    assert batches is not None
    return batches


RETRAINING = protocol(batch_size=32, validation_share=0.5)

READERS: dict[str, Callable[[Any], Iterable[tuple[Tensor, Tensor]] | None]] = {
    "the validation of a search": validation,
    "scoring": lambda job: scorer(job).read(),
    "scoring on held-out images": lambda job: scorer(job, held_out_share=0.5).read(),
    "recalibration": lambda job: scorer(job).calibration,
    "the validation of a retraining": lambda job: retraining_loaders(job, RETRAINING, CPU).val,
    "an analysis": lambda job: bench_of(job).validation(32, 1),
    "an analysis of the test images": lambda job: bench_of(job).test(32),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_batch_of_a_data_set_sorted_by_class_holds_all_classes(reader: str) -> None:
    """In the order of the data set batches of 32 would hold a class or two, and so would the first or last of 512."""
    batches = READERS[reader](job_of(by_class()))
    assert batches is not None
    for _, labels in batches:
        assert torch.bincount(labels, minlength=CLASSES).min() >= 2


def test_what_is_validated_scored_and_analysed_meets_the_same_batches_in_every_pass() -> None:
    job = job_of(by_class())
    scored = scorer(job)
    batches = list(scored.read())
    passes = [scored.read(), scorer(job, batch_norm="running").read(), bench_of(job).validation(32), validation(job)]
    for images in passes:
        assert torch.equal(torch.cat([x for x, _ in images]), torch.cat([x for x, _ in batches]))
    other_seed = next(iter(scorer(job_of(by_class(), seed=1)).read()))
    assert not torch.equal(other_seed[0], batches[0][0])


def test_held_out_images_are_scored_in_the_order_in_which_they_are_validated() -> None:
    job = job_of(by_class())
    scored = torch.cat([x for x, _ in scorer(job, held_out_share=0.25).read()])
    assert torch.equal(scored, torch.cat([x for x, _ in validation(job, held_out=0.25)]))


def test_a_supernet_scores_a_data_set_sorted_by_class_as_it_scores_it_shuffled() -> None:
    """Normalised by the statistics of a batch of one colour, the colour would be gone: one image in three is right."""
    images = by_class(64)
    mixed = images.select(torch.randperm(len(images), generator=torch.Generator().manual_seed(1)))
    supernet = small_search.cell_supernet("skip_connect", "nor_conv_3x3")
    optimizer = torch.optim.SGD(supernet.weight_parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        for batch, labels in fixed_batches(job_of(mixed).data, mixed, 32, CPU, 0):
            optimizer.zero_grad()
            F.cross_entropy(supernet(batch), labels).backward()
            optimizer.step()

    def accuracy(images: ImageTensors) -> float:
        batches = fixed_batches(job_of(images).data, images, 32, CPU, 1)
        (score,) = Scorer(supernet, Classification(), batches, Scoring(), [], (0, "selection"))(
            [supernet.mixture_weights().detach()]
        )
        return score.metric

    assert accuracy(mixed) > 0.95
    assert accuracy(images) == pytest.approx(accuracy(mixed), abs=0.03)
