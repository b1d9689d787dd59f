"""The ways to judge an architecture."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from archselect.evaluation.nasbench201 import PACKAGED, NASBench201Table
from archselect.store.redact_paths import expand
from archselect.utils.validation import (
    FRACTION_OR_ZERO,
    NON_NEGATIVE_FLOAT,
    NON_NEGATIVE_INT,
    POSITIVE_FLOAT,
    POSITIVE_INT,
    check_optimizer,
    check_options,
    one_of,
)


@dataclass(frozen=True)
class Retraining:
    """Train the discrete network from scratch; test it once, at the end.

    Attributes:
        name: Shown in folders and reports.
        network: The skeleton: what `SearchSpace.network` takes besides the genotype, image size and classes.
        epochs: Passes over the training images.
        batch_size: Images per step.
        validation_share: Share of the training images that is held out and validated on after every epoch; 0 trains on
            all. The last epoch's network is tested whatever the validation says.
        optimizer: Makes the optimizer.
        learning_rate_min: Where the cosine schedule ends; null keeps the rate constant.
        gradient_clip: Largest norm of the gradient; null: not clipped.
        cutout: Side of the cutout in pixels; 0: none.
        drop_path: Probability of dropping a path in the last epoch; it grows linearly from 0.
        auxiliary_weight: Weight of the auxiliary head's loss; 0: no such head.
        label_smoothing: Of the training loss.
        capture: `cuda_graphs` replays the steps as CUDA graphs, which are recorded anew whenever drop path grows: the
            same numbers, sooner.
    """

    name: str
    network: Mapping[str, Any]
    epochs: int
    batch_size: int
    validation_share: float
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    learning_rate_min: float | None
    gradient_clip: float | None
    cutout: int
    drop_path: float
    auxiliary_weight: float
    label_smoothing: float
    capture: Literal["none", "cuda_graphs"] = "none"

    def __post_init__(self) -> None:
        check_options("evaluation.network", self.network, Mapping)
        POSITIVE_INT.check("evaluation.epochs", self.epochs)
        POSITIVE_INT.check("evaluation.batch_size", self.batch_size)
        FRACTION_OR_ZERO.check("evaluation.validation_share", self.validation_share)
        FRACTION_OR_ZERO.check("evaluation.drop_path", self.drop_path)
        FRACTION_OR_ZERO.check("evaluation.label_smoothing", self.label_smoothing)
        check_optimizer("evaluation.optimizer", self.optimizer)
        if self.learning_rate_min is not None:
            NON_NEGATIVE_FLOAT.check("evaluation.learning_rate_min", self.learning_rate_min)
        if self.gradient_clip is not None:
            POSITIVE_FLOAT.check("evaluation.gradient_clip", self.gradient_clip)
        NON_NEGATIVE_INT.check("evaluation.cutout", self.cutout)
        NON_NEGATIVE_FLOAT.check("evaluation.auxiliary_weight", self.auxiliary_weight)
        one_of(("none", "cuda_graphs")).check("evaluation.capture", self.capture)

    @property
    def skeleton(self) -> dict[str, Any]:
        """What the network is built with; the auxiliary head only where its loss counts."""
        return {**self.network, **({"auxiliary": True} if self.auxiliary_weight else {})}

    def schedule(self, optimizer: Optimizer) -> LRScheduler | None:
        """Return the schedule of the learning rate, stepped once per epoch."""
        if self.learning_rate_min is None:
            return None
        return CosineAnnealingLR(optimizer, T_max=self.epochs, eta_min=self.learning_rate_min)


@dataclass(frozen=True)
class NASBench201Lookup:
    """Look the architecture up in a table of all NAS-Bench-201 results.

    Attributes:
        name: Shown in folders and reports.
        table: Path of the table; null: the one of the package.
        network: The skeleton that the table's networks have, for their parameter count.
    """

    name: str
    table: str | None
    network: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_options("evaluation.network", self.network, Mapping)
        if self.table is not None and (not isinstance(self.table, str) or not self.table.strip()):
            raise ValueError(
                "evaluation.table must be the path of a .csv or .parquet file, or null for the table of the package; "
                f"got {self.table!r}."
            )

    @property
    def file(self) -> Path:
        """The file of the table."""
        return PACKAGED if self.table is None else Path(expand(self.table))

    def load(self) -> NASBench201Table:
        """Return the table; see `NASBench201Table` for the errors of a file that is none."""
        return NASBench201Table(self.file)


class NoEvaluation:
    """Stop after the selection.

    Args:
        name: Shown in folders and reports.
        retraining: What an experiment says of a retraining, which does not take place:
            `experiment=quickstart evaluation=none`.
    """

    def __init__(self, name: str = "none", **retraining: Any) -> None:
        self.name = name


Evaluation = Retraining | NASBench201Lookup | NoEvaluation
