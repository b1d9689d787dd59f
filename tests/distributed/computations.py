"""What a run computes, in float64: the same functions for one process and for several that share every batch."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from tests.distributed.two_processes import trainer
from tests.evaluation.test_retrain_module import network, protocol
from tests.search import small_search
from torch import Tensor, nn

from archselect.data import Augmentation, BilevelBatches, DeviceLoader
from archselect.distributed.batch_norm import BatchNorm2d
from archselect.distributed.process_group import all_reduce, shard, sharded_batches
from archselect.evaluation import RetrainModule
from archselect.models.supernet.relaxation import Dirichlet, GumbelSoftmax
from archselect.pipeline.stage import SharedFolder
from archselect.search import SearchModule
from archselect.search.early_stopping import Curvature
from archselect.selection import Scorer, Scoring, SuccessiveElimination
from archselect.selection.scoring import Racing
from archselect.store import StageKey
from archselect.tasks import Classification
from archselect.tasks.classification import AccuracyPerClass
from archselect.training.devices import silence_lightning_warnings
from archselect.training.fit import Loaders, StageTrainer
from archselect.training.progress import Progress

METHODS: Mapping[str, Mapping[str, Any]] = {
    "first order": {},
    "an adversarial perturbation, AdamW for the weights and SGD for alpha": {
        "smoothing": small_search.adversarial(steps=1),
        "weight_optimizer": partial(torch.optim.AdamW, lr=0.01),
        "architecture_optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    },
}
MORE_METHODS: Mapping[str, Mapping[str, Any]] = {
    "one drawn operation": {"relaxation": GumbelSoftmax(hard=True, first=10.0, last=0.1)},
    "second order": {"architecture_gradient": small_search.unrolled()},
    "a random perturbation": {"smoothing": small_search.random_smoothing()},
    "a drawn mixture": {"relaxation": Dirichlet()},
    "frozen operations": {"freezing": small_search.matching(interval=1, threshold=0.2)},
    "curvature": {"stopping": {"curvature": Curvature(window=1, lag=1, every=1, batch_size=5)}},
    "recomputed cells": {"recompute": True},
}
SCORINGS = {
    "statistics of the batch": Scoring(),
    "gathered anew": Scoring(batch_norm="recalibrated", recalibration_batches=3),
    "a race": Racing(first_check=3, confidence=0.6),
}

NO_PATH = {1: 0, 2: 0}
"""Both edges into the last node give nothing but zeros, so no loss depends on `alpha`."""

Fit = tuple[dict[str, Tensor], list[dict[str, float]]]
"""What a network holds after a fit, and the metrics of every epoch."""


def batches(count: int, size: int, purpose: tuple[int | str, ...] = ()) -> DeviceLoader:
    """In float64, augmented if for a purpose."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(small_search.CLASSES, (count,), generator=generator)
    augmentation = Augmentation(pad=1, flip=True) if purpose else None
    return DeviceLoader(
        images,
        labels,
        size,
        "cpu",
        small_search.PLAIN,
        purpose or (0, "fixed"),
        augmentation,
        shuffle=bool(purpose),
        dtype=torch.float64,
    )


def fitted(module: Any, train: Any, network: nn.Module, synchronised: bool = True, tests: bool = False) -> Fit:
    """Make two epochs as a stage does; the last validation batch is one image, which only one of two processes has."""
    silence_lightning_warnings()
    with TemporaryDirectory() as folder:
        stage = SharedFolder(Path(folder), StageKey("search", "tests", {}))
        progress = Progress(Console(quiet=True), "search")
        stage_trainer = StageTrainer(stage, trainer(synchronised), progress, lambda record: None)
        history = stage_trainer.fit(module, lambda device: Loaders(train, batches(9, 4), 8), epochs=2)
        measured = ("peak_memory_gb", "images_per_second")
        metrics = [{name: one["metrics"][name] for name in one["metrics"] if name not in measured} for one in history]
        if tests:
            metrics.append(stage_trainer.test(module, lambda device: batches(9, 4)))
    state = network.state_dict().items()
    return {name: value.clone() for name, value in state if isinstance(value, Tensor)}, metrics


def searched(changes: Mapping[str, Any], decided: Mapping[int, int] | None = None, synchronised: bool = True) -> Fit:
    """Batches of 5 and 3 images are not equally spread."""
    first = "none" if decided else "skip_connect"
    supernet = small_search.cell_supernet(first, "nor_conv_3x3", "avg_pool_3x3").double()
    small_search.decide(supernet, "cell", decided or {})
    method = small_search.method(epochs=2, batch_size=5, **changes)
    module = SearchModule(supernet, method, Classification(), small_search.CLASSES, (0, "search"))
    train = BilevelBatches(batches(8, 5, (0, "weights")), batches(7, 5, (0, "architecture")))
    return fitted(module, train, supernet, synchronised)


def retrained() -> Fit:
    module = RetrainModule(network().double(), protocol(batch_size=5), Classification(), small_search.CLASSES, 0)
    return fitted(module, batches(8, 5, (0, "train")), module.network, tests=True)


def scored(scoring: Scoring) -> list[Any]:
    """Return what a round of candidates of a noisy supernet comes to, and what it did on each batch."""
    supernet = small_search.cell_supernet("noise", "nor_conv_3x3", "avg_pool_3x3")
    own = supernet.mixture_weights().detach()
    candidates = [own.masked("cell", 0, operation) for operation in range(3)] + [own]
    whole = small_search.resident(23, 2)
    scorer = Scorer(supernet, Classification(), whole, scoring, whole, (0, "selection"))
    scores = scorer(candidates, SuccessiveElimination("loss", "max", 3))
    return [(score, score.per_batch) for score in scores]


def normalised(
    kind: type[nn.BatchNorm2d | nn.SyncBatchNorm] = BatchNorm2d,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    second_order: bool = True,
) -> dict[str, Tensor]:
    """Return output, statistics and derivatives of a normalisation of 5 images, in several processes of its part."""
    generator = torch.Generator().manual_seed(0)
    images, directions = 3 + torch.randn(2, 5, 4, 2, 2, generator=generator, dtype=torch.float64)
    norm = kind(4)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    with sharded_batches():
        x, direction = (value[shard().part(5)].to(device, dtype) for value in (images, directions))
        x.requires_grad_()
        norm = norm.to(device, dtype)
        out = norm(x)
        parameters = [x, norm.weight, norm.bias]
        in_x, in_weight, in_bias = torch.autograd.grad((out * direction).sum(), parameters, create_graph=second_order)
        found = {
            "output": out,
            "in the input": in_x,
            "in the scale": all_reduce(in_weight),
            "in the shift": all_reduce(in_bias),
            "mean": norm.running_mean,
            "variance": norm.running_var,
            "batches": norm.num_batches_tracked.reshape(1),
        }
        if second_order:
            (found["of the second order"],) = torch.autograd.grad(in_x.square().sum(), [x])
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def per_class() -> Tensor:
    """Return the accuracy of each class over 31 images, of which each process counts its part."""
    generator = torch.Generator().manual_seed(1)
    labels, predictions = torch.randint(4, (2, 31), generator=generator)
    metric = AccuracyPerClass(4)
    with sharded_batches():
        own = shard().part(31)
        metric.update(nn.functional.one_hot(predictions[own], 4).float(), labels[own])
        return metric.compute()
