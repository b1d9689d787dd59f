"""The LightningModule that trains a supernet, in the search and while a selection tunes it."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from archselect.capture import Capture, NoCapture, capture_for
from archselect.networks.supernet import Supernet
from archselect.optimizer_step import optimizer_step
from archselect.randomness import derived_seed
from archselect.search.architecture_gradient import Batch
from archselect.search.method import SearchMethod


class SearchModule(pl.LightningModule):
    """Bilevel optimisation: per step one update of `alpha` on a batch of its half, then one of the weights on theirs.

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
        self.supernet.recompute = method.recompute
        self.method = method
        self.purpose = purpose
        self.capture: Capture = NoCapture()
        self._captured_under = dict(supernet.decisions)
        metrics = MetricCollection(
            {
                # Takes one value per image: without its check for NaN, which halts the host, it ignores weights.
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

    def on_train_start(self) -> None:
        """Make what captures the steps, now that the device is known."""
        self.capture = capture_for(self.method.capture, self.device, self.supernet)

    def on_train_end(self) -> None:
        """Free what was captured."""
        self.capture.forget()

    def on_train_epoch_start(self) -> None:
        """Tell the batches the epoch, which Lightning does for samplers only, and seed the network's noise."""
        batches: Any = self.trainer.train_dataloader
        batches.set_epoch(self.current_epoch)
        torch.manual_seed(derived_seed(*self.purpose, "network", self.current_epoch))

    def training_step(self, batch: tuple[Batch, Batch], batch_idx: int) -> None:
        """Make one bilevel step."""
        weight_batch, architecture_batch = batch
        optimizers: Any = self.optimizers()
        weight_optimizer, *architecture_optimizer = optimizers if isinstance(optimizers, list) else [optimizers]
        self._forget_if_decided()
        if self.method.architecture_gradient is not None and self._undecided:
            gradients = self.capture("alpha", self._architecture_gradients, (*weight_batch, *architecture_batch))
            optimizer_step(architecture_optimizer[0], self.supernet.architecture_parameters(), gradients)
        losses, logits, gradients = self.capture("weights", self._weight_gradients, weight_batch)
        optimizer_step(weight_optimizer, self.supernet.weight_parameters(), gradients, self.method.gradient_clip)
        self.train_metrics["loss"].update(losses)
        self.train_metrics["accuracy"].update(logits, weight_batch[1])

    @property
    def _undecided(self) -> bool:
        return any(decisions.undecided_edges for decisions in self.supernet.decisions.values())

    def _forget_if_decided(self) -> None:
        """A decision changes what a step evaluates, so nothing captured before it may be replayed."""
        if self.supernet.decisions != self._captured_under:
            self.capture.forget()
            self._captured_under = dict(self.supernet.decisions)

    def _architecture_gradients(
        self, images: Tensor, labels: Tensor, architecture_images: Tensor, architecture_labels: Tensor
    ) -> Sequence[Tensor]:
        gradient = self.method.architecture_gradient
        assert gradient is not None
        return gradient(self.supernet, (images, labels), (architecture_images, architecture_labels))

    def _weight_gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        """Return the losses `(B,)`, the logits `(B, classes)` and the gradient of the mean loss in every weight."""
        logits = self.supernet(images, self.supernet.mixture_weights().detach())
        losses = F.cross_entropy(logits, labels, reduction="none")
        # Weights of operations that are not evaluated any more have no gradient.
        gradients = torch.autograd.grad(losses.mean(), self.supernet.weight_parameters(), allow_unused=True)
        return losses.detach(), logits.detach(), gradients

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
        logits = self.capture("validation", self.supernet, (images,))
        self.val_metrics["loss"].update(F.cross_entropy(logits, labels, reduction="none"))
        self.val_metrics["accuracy"].update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Report the means over the validation images."""
        self.log_dict(self.val_metrics.compute())
        self.val_metrics.reset()
