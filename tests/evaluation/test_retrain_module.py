from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from archselect import kernels
from archselect.data import DeviceLoader, Normalisation
from archselect.evaluation import NoEvaluation, Retraining, RetrainModule
from archselect.genotype import PUBLISHED
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.discrete.network import DiscreteNetwork
from archselect.tasks import Classification

CLASSES = 3
RATE, MOMENTUM, CLIP = 0.1, 0.9, 0.5


def network() -> DiscreteNetwork:
    torch.manual_seed(0)
    return DartsNetwork(PUBLISHED["DARTS_V1"], channels=2, layers=3, classes=CLASSES)


def protocol(**changes: Any) -> Retraining:
    optimizer = partial(torch.optim.SGD, lr=RATE, momentum=MOMENTUM)
    small = Retraining("small", {}, 4, 4, 0.0, optimizer, 0.02, CLIP, 0, 0.0, 0.0, label_smoothing=0.1, capture="none")
    return replace(small, **changes)


def batches() -> DeviceLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (8,), generator=generator)
    normalisation = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return DeviceLoader(images, labels, 4, "cpu", normalisation, rng_key=(0, "train"), shuffle=True)


def trained(module: RetrainModule, epochs: int, accelerator: str = "cpu") -> RetrainModule:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(max_epochs=epochs, accelerator=accelerator, devices=1, **quiet).fit(module, batches())
    return module


def by_a_plain_loop(epochs: int, total: int) -> DiscreteNetwork:
    """SGD with momentum on the clipped gradient; the rate falls by a cosine over all epochs, once per epoch."""
    trained_network = network()
    optimizer = torch.optim.SGD(trained_network.parameters(), lr=RATE, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, 0.02)
    data = batches()
    for epoch in range(epochs):
        data.set_epoch(epoch)
        for images, labels in data:
            optimizer.zero_grad()
            F.cross_entropy(trained_network(images), labels, label_smoothing=0.1).backward()
            torch.nn.utils.clip_grad_norm_(trained_network.parameters(), CLIP)
            optimizer.step()
        schedule.step()
    return trained_network


def test_training_is_that_of_a_plain_loop() -> None:
    with kernels.enabled():  # as in a run; otherwise the norm to clip is summed in another order
        module = trained(RetrainModule(network(), protocol(), Classification(), CLASSES, seed=0), epochs=3)
        expected = by_a_plain_loop(3, total=4).state_dict()
    for name, value in module.network.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


class Recorder:
    """Evaluates, and remembers when it was told to forget."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, key: Hashable, function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
        self.events.append(str(key))
        return function(*inputs)

    def forget(self) -> None:
        self.events.append("forget")


@pytest.mark.parametrize(
    ("drop_path", "events"),
    [
        (0.0, ["train", "train", "train", "train", "forget"]),
        # In the first epoch the probability is 0, in the second it has grown.
        (0.2, ["train", "train", "forget", "train", "train", "forget"]),
    ],
    ids=["without drop path", "drop path grows"],
)
def test_what_was_captured_is_forgotten_when_drop_path_grows(
    drop_path: float, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr("archselect.evaluation.module.capture_for", lambda *_: recorder)
    trained(RetrainModule(network(), protocol(drop_path=drop_path), Classification(), CLASSES, seed=0), epochs=2)
    assert recorder.events == events


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_a_replayed_training_equals_the_plain_one() -> None:
    def weights(capture: str) -> list[Tensor]:
        module = trained(
            RetrainModule(network(), protocol(capture=capture), Classification(), CLASSES, seed=0), 2, "gpu"
        )
        return [parameter.detach().cpu() for parameter in module.network.parameters()]

    for plain, replayed in zip(weights("none"), weights("cuda_graphs"), strict=True):
        torch.testing.assert_close(replayed, plain, rtol=1e-4, atol=1e-5)


def test_without_evaluation_a_misspelt_option_of_a_retraining_is_refused_and_the_others_are_left_aside() -> None:
    assert NoEvaluation("none", epochs=8, cutout=0).trained_images(100) == 0
    with pytest.raises(ValueError, match=r"evaluation\.epcohs must be an option of a retraining, .* epochs, .*Correct"):
        NoEvaluation("none", epochs=8, epcohs=3)


def test_the_learning_rate_falls_by_a_factor_after_every_epoch_where_that_is_asked_for():
    rule: dict[str, Any] = {"learning_rate_min": None, "learning_rate_decay": 0.5}
    halving = protocol(optimizer=partial(torch.optim.SGD, lr=0.8), **rule)
    optimizer = halving.optimizer([torch.nn.Parameter(torch.zeros(1))])
    schedule = halving.schedule(optimizer)
    assert schedule is not None
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [0.8, 0.4, 0.2]
    with pytest.raises(ValueError, match=r"learning_rate_min=0\.1 ends a cosine schedule.*Set one of them to null"):
        replace(halving, learning_rate_min=0.1)
    with pytest.raises(ValueError, match=r"learning_rate_decay must lie above 0 and at most at 1; got 1\.5"):
        replace(halving, learning_rate_decay=1.5)
