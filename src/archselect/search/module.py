"""The LightningModule that trains a supernet, in the search and while a selection tunes it."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from archselect.networks.supernet import Supernet
from archselect.randomness import derived_seed
from archselect.search.architecture_gradient import Batch
from archselect.search.method import SearchMethod


class SearchModule(pl.LightningModule):
    """Bilevel optimisation: per step one update of `alpha` on a batch of its half, then one of the weights on a batch of theirs.

    Args:
        supernet: Trained in place.
        method: Optimizers, schedule and architecture gradient.
        classes: Number of classes.
        purpose: What the randomness inside the network (noise) is derived from, together with the epoch.
    """

    def __init__(self, supernet: Supernet, method: SearchMethod, classes: int, purpose: tuple[int | str, ...]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.supernet = supernet
        self.method = method
        self.purpose = purpose
        metrics = MetricCollection(
            {
                # Takes one value per image: without its check for NaN, which halts the host, the metric ignores its weights.
                "loss": MeanMetric(nan_strategy="disable"),
                "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False),
            }
        )
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")

    def configure_optimizers(self) -> Any:
        """Return the optimizer of the weights with its schedule, then that of `alpha` if it trains."""
        weights = self.method.weight_optimizer(self.supernet.weight_parameters())
        schedule = self.method.schedule(weights)
        optimizers: list[Any] = [{"optimizer": weights, **({"lr_scheduler": schedule} if schedule else {})}]
        if self.method.architecture_gradient is not None:
            alpha = self.method.architecture_optimizer(self.supernet.architecture_parameters())
            optimizers.append({"optimizer": alpha})
        return optimizers

    def on_train_epoch_start(self) -> None:
        """Announce the epoch to the batches, which Lightning does for samplers only, and seed what is random in the network."""
        batches: Any = self.trainer.train_dataloader
        batches.set_epoch(self.current_epoch)
        torch.manual_seed(derived_seed(*self.purpose, "network", self.current_epoch))

    def training_step(self, batch: tuple[Batch, Batch], batch_idx: int) -> None:
        """Make one bilevel step."""
        weight_batch, architecture_batch = batch
        optimizers: Any = self.optimizers()
        weight_optimizer, *architecture_optimizer = optimizers if isinstance(optimizers, list) else [optimizers]
        gradient = self.method.architecture_gradient
        if gradient is not None and self._undecided:
            gradients = gradient(self.supernet, weight_batch, architecture_batch)
            _step(architecture_optimizer[0], self.supernet.architecture_parameters(), gradients)
        self._weight_step(weight_optimizer, *weight_batch)

    @property
    def _undecided(self) -> bool:
        return any(decisions.undecided_edges for decisions in self.supernet.decisions.values())

    def _weight_step(self, optimizer: Any, images: Tensor, labels: Tensor) -> None:
        parameters = self.supernet.weight_parameters()
        logits = self.supernet(images, self.supernet.mixture_weights().detach())
        losses = F.cross_entropy(logits, labels, reduction="none")
        # Weights of operations that are not evaluated any more have no gradient.
        gradients = torch.autograd.grad(losses.mean(), parameters, allow_unused=True)
        _step(optimizer, parameters, gradients, self.method.gradient_clip)
        self.train_metrics["loss"].update(losses.detach())
        self.train_metrics["accuracy"].update(logits.detach(), labels)

    def on_train_epoch_end(self) -> None:
        """Report the epoch's means and step the schedule."""
        self.log_dict(self.train_metrics.compute())
        self.train_metrics.reset()
        schedule: Any = self.lr_schedulers()
        optimizers: Any = self.optimizers()
        names = ("learning_rate", "architecture_learning_rate")
        for name, optimizer in zip(names, optimizers if isinstance(optimizers, list) else [optimizers], strict=False):
            self.log(name, optimizer.param_groups[0]["lr"])
        if schedule is not None:
            schedule.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the supernet on images of the `alpha` half."""
        images, labels = batch
        logits = self.supernet(images)
        self.val_metrics["loss"].update(F.cross_entropy(logits, labels, reduction="none"))
        self.val_metrics["accuracy"].update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Report the means over the validation images."""
        self.log_dict(self.val_metrics.compute())
        self.val_metrics.reset()


def _step(optimizer: Any, parameters: list[Any], gradients: Any, clip: float | None = None) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad()
