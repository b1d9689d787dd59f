"""A search method: the parts that the training of a supernet is composed of, and their options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from archselect.models.cell_space import CellSpace
from archselect.models.supernet.relaxation import EdgeNormalization, Relaxation, SupernetOptions
from archselect.search.alpha_gradient import ArchitectureGradient
from archselect.search.cost import CostTerm
from archselect.search.early_stopping import StoppingRule
from archselect.search.oles import GradientMatching
from archselect.search.regularizers import Regularizer
from archselect.search.sgas import SGAS
from archselect.search.smoothing import Smoothing
from archselect.training.cuda_graphs import CaptureName
from archselect.utils import validation
from archselect.utils.validation import Fraction, FractionOrZero, NonNegativeFloat, PositiveFloat, PositiveInt

OptimizerFactory = Callable[..., Optimizer]
"""Makes an optimizer of an iterable of parameters; `lr` overrides its learning rate."""


def _part(kind: type) -> validation.Constraint:
    words = "name a class by its _target_, as the files of configs/search/ do"
    return validation.Constraint(words, lambda value: isinstance(value, kind))


@dataclass(frozen=True)
class SearchMethod:
    """How a supernet is trained.

    `configs/search/darts.yaml` says what each option means and has its default. While a selection tunes the supernet,
    the method is `in_final_state`: what changes in the course of a search stands where the search ended.
    """

    name: str
    epochs: PositiveInt
    batch_size: PositiveInt
    weight_share: Fraction
    weight_optimizer: OptimizerFactory
    learning_rate_min: NonNegativeFloat | None
    gradient_clip: PositiveFloat | None
    architecture_optimizer: OptimizerFactory
    architecture_gradient: Annotated[ArchitectureGradient, _part(ArchitectureGradient)] | None
    architecture_gradient_clip: PositiveFloat | None
    update_order: Literal["alpha_first", "weights_first"]
    relaxation: Annotated[Relaxation, _part(Relaxation)]
    alpha_warmup: FractionOrZero
    regularizers: Mapping[str, Regularizer]
    smoothing: Annotated[Smoothing, _part(Smoothing)] | None
    greedy: Annotated[SGAS, _part(SGAS)] | None
    partial_channels: PositiveInt
    edge_normalization: EdgeNormalization
    auxiliary_skip: bool
    drop_path: FractionOrZero
    skip_cap: validation.NonNegativeInt | None
    stopping: Mapping[str, StoppingRule]
    freezing: Annotated[GradientMatching, _part(GradientMatching)] | None
    snapshots: PositiveInt | None
    capture: CaptureName
    recompute: bool
    cost: Annotated[CostTerm, _part(CostTerm)] | None = None
    in_final_state: bool = False

    def __post_init__(self) -> None:
        validation.check_fields(self, "search")
        validation.check_optimizer("search.weight_optimizer", self.weight_optimizer)
        validation.check_optimizer("search.architecture_optimizer", self.architecture_optimizer)
        for option, kind in (("regularizers", Regularizer), ("stopping", StoppingRule)):
            parts = getattr(self, option)
            if not isinstance(parts, Mapping):
                raise ValueError(
                    f"search.{option} must hold parts by name, such as {{a_name: {{_target_: ...}}}}; got {parts!r}."
                )
            wanted = {name: part for name, part in parts.items() if part is not None}
            for name, part in wanted.items():
                _part(kind).check(f"search.{option}.{name}", part)
            object.__setattr__(self, option, wanted)  # the class is frozen
        self._check_together()

    def _check_together(self) -> None:
        """Raise a ValueError for parts that do not go together."""
        if self.architecture_gradient is not None:
            self.architecture_gradient.check(self.weight_optimizer([nn.Parameter(torch.zeros(1))]))
        for option in ("regularizers", "cost", "alpha_warmup", "greedy", "skip_cap"):
            if self.architecture_gradient is None and getattr(self, option):
                raise ValueError(
                    f"search.{option} is about an alpha that trains, but with search.architecture_gradient=null it "
                    f"never does. Leave search.{option} out, or name a gradient."
                )
        for regularizer in self.regularizers.values():
            regularizer.check(self.relaxation)
        if self.relaxation.sparse and self.capture != "none":
            raise ValueError(
                f"search.capture={self.capture} records which operations a step evaluates, but with this "
                "search.relaxation they are drawn anew at every step. Use search.capture=none."
            )

    @property
    def variant(self) -> SupernetOptions:
        """What the supernet must be able to do."""
        return SupernetOptions(self.relaxation, self.partial_channels, self.edge_normalization, self.auxiliary_skip)

    @property
    def rollback_window(self) -> int:
        """How many epochs back the search may end."""
        return max((rule.rollback_window for rule in self.stopping.values()), default=0)

    def progress(self, epoch: int) -> float:
        """Return where in the search an epoch lies, from 0, the first, to 1, the last."""
        return 1.0 if self.in_final_state else epoch / max(1, self.epochs - 1)

    def smoothing_at(self, progress: float) -> Smoothing | None:
        """Return the smoothing at a moment of the search (see `progress`)."""
        if self.smoothing is None:
            return None
        return self.smoothing.at(progress if self.smoothing.endpoint else progress * (self.epochs - 1) / self.epochs)

    def trains_alpha(self, epoch: int) -> bool:
        """Return whether `alpha` trains in an epoch."""
        return self.architecture_gradient is not None and epoch >= round(self.alpha_warmup * self.epochs)

    def decides_all(self, cells: Mapping[str, CellSpace]) -> bool:
        """Return whether the search leaves nothing to a selection."""
        return self.greedy is not None and self.greedy.decides_all(cells, self.epochs)

    def schedule(self, optimizer: Optimizer) -> LRScheduler | None:
        """Return the schedule of the weights' learning rate, stepped once per epoch."""
        lowest = self.learning_rate_min
        return None if lowest is None else CosineAnnealingLR(optimizer, T_max=self.epochs, eta_min=lowest)

    def for_tuning(
        self, epochs: int, learning_rate: float, schedule: Literal["constant", "cosine"], train_alpha: bool
    ) -> "SearchMethod":
        """Return the method that tunes the supernet between the decisions of a selection.

        What decides, ends or freezes is over.

        Args:
            epochs: All epochs of the tuning.
            learning_rate: Of the weights, at its start.
            schedule: `constant`, or `cosine` down to `learning_rate_min`.
            train_alpha: Whether the `alpha` of undecided edges trains on.
        """
        return replace(
            self,
            in_final_state=True,
            epochs=epochs,
            weight_optimizer=partial(self.weight_optimizer, lr=learning_rate),
            learning_rate_min=(self.learning_rate_min or 0.0) if schedule == "cosine" else None,
            architecture_gradient=self.architecture_gradient if train_alpha else None,
            regularizers=self.regularizers if train_alpha else {},
            cost=self.cost if train_alpha else None,
            smoothing=self.smoothing and self.smoothing.at(1.0),
            alpha_warmup=0.0,
            greedy=None,
            stopping={},
            freezing=None,
            skip_cap=None,
            # Every decision and every candidate that is scored has other operations, which would be compiled anew.
            capture="none" if self.capture == "compile" else self.capture,
        )
