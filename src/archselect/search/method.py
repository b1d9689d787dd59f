"""A search method: the parts that training a supernet is composed of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from archselect.capture import CaptureName
from archselect.checks import check_choice, check_flag, check_number, check_optimizer, check_positive, check_share
from archselect.search.architecture_gradient import ArchitectureGradient

OptimizerFactory = Callable[..., Optimizer]
"""Makes an optimizer of an iterable of parameters; `lr` overrides its learning rate."""


@dataclass(frozen=True)
class SearchMethod:
    """How a supernet is trained. The defaults of the YAML files are the protocol of DARTS (sec. 3.1).

    Attributes:
        name: Shown in folders and reports.
        epochs: Passes over the weight half.
        batch_size: Images in each of the two batches of a step.
        weight_share: Share of the training images that trains the weights; the others train `alpha`.
        weight_optimizer: Makes the optimizer of the weights.
        learning_rate_min: Where the cosine schedule of the weights' learning rate ends; None keeps the rate constant.
        gradient_clip: Largest norm of the weights' gradient.
        architecture_optimizer: Makes the optimizer of `alpha`.
        architecture_gradient: Gradient of `alpha`; None: `alpha` is never updated (DARTS-PT, sec. 4.4, "fixed alpha").
        capture: `cuda_graphs` replays steps and scoring passes as CUDA graphs: the same numbers, sooner. `compile`
            compiles the cells for the steps of the search: equal up to rounding, after minutes of compiling.
        recompute: Keep only what enters a cell and evaluate the cell again in the backward pass: the same numbers from
            less memory, for about a third more time.
    """

    name: str
    epochs: int
    batch_size: int
    weight_share: float
    weight_optimizer: OptimizerFactory
    learning_rate_min: float | None
    gradient_clip: float
    architecture_optimizer: OptimizerFactory
    architecture_gradient: ArchitectureGradient | None
    capture: CaptureName = "none"
    recompute: bool = False

    def __post_init__(self) -> None:
        check_positive("search.epochs", self.epochs)
        check_positive("search.batch_size", self.batch_size)
        check_share("search.weight_share", self.weight_share)
        check_optimizer("search.weight_optimizer", self.weight_optimizer)
        check_optimizer("search.architecture_optimizer", self.architecture_optimizer)
        if self.learning_rate_min is not None:
            check_number("search.learning_rate_min", self.learning_rate_min)
        check_number("search.gradient_clip", self.gradient_clip, zero=False)
        if self.architecture_gradient is not None and not callable(self.architecture_gradient):
            raise ValueError(
                "search.architecture_gradient must be null or name a class by its _target_, such as "
                f"archselect.search.FirstOrder; got {self.architecture_gradient!r}."
            )
        check_choice("search.capture", self.capture, get_args(CaptureName))
        check_flag("search.recompute", self.recompute)

    def schedule(self, optimizer: Optimizer) -> LRScheduler | None:
        """Return the schedule of the weights' learning rate, stepped once per epoch."""
        if self.learning_rate_min is None:
            return None
        return CosineAnnealingLR(optimizer, T_max=self.epochs, eta_min=self.learning_rate_min)

    def for_tuning(
        self, epochs: int, learning_rate: float, schedule: Literal["constant", "cosine"], train_alpha: bool
    ) -> "SearchMethod":
        """Return the method that tunes the supernet between the decisions of a selection.

        Args:
            epochs: All epochs of the tuning.
            learning_rate: Of the weights, at its start.
            schedule: `constant`, or `cosine` down to `learning_rate_min`.
            train_alpha: Whether the `alpha` of undecided edges trains on.
        """
        return replace(
            self,
            epochs=epochs,
            weight_optimizer=partial(self.weight_optimizer, lr=learning_rate),
            learning_rate_min=(self.learning_rate_min or 0.0) if schedule == "cosine" else None,
            architecture_gradient=self.architecture_gradient if train_alpha else None,
            # Every decision and every candidate that is scored has other operations, which would be compiled anew.
            capture="none" if self.capture == "compile" else self.capture,
        )
