"""The ways to judge an architecture: retraining it from scratch, or not at all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler

from archselect.data import ImageData
from archselect.genotype import Genotype
from archselect.models.discrete.network import DiscreteNetwork
from archselect.search_spaces import SearchSpace
from archselect.tasks import Task
from archselect.training.cuda_graphs import CaptureName
from archselect.utils.validation import (
    FractionOrOne,
    FractionOrZero,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    check_fields,
    check_optimizer,
    check_options,
)


class Evaluation:
    """A way to judge an architecture.

    Attributes:
        name: Shown in folders and reports.
        epochs: Of the training that it takes; 0: none.
        capture: How the steps of the training are captured.
    """

    name: str
    epochs: int
    capture: CaptureName

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the result besides the options."""
        return {}

    def describe(self) -> str:
        """Return what is done, as the plan of a run shows it."""
        return self.name

    def trained_images(self, images: int) -> float:
        """Return how many images the epochs train on, all together, where there are so many in the training set."""
        return 0.0

    def judged_sizes(self, space: SearchSpace) -> Mapping[str, Any]:
        """Return the sizes of the networks that are judged; where none is, the channels and depth of the supernet."""
        return space.supernet_sizes

    def judged_network(self, space: SearchSpace, genotype: Genotype, data: ImageData, outputs: int) -> DiscreteNetwork:
        """Return a new network such as is judged, which gives so many outputs."""
        return space.network(genotype, data.image_size, outputs, data.channels, **self.judged_sizes(space))

    def judged_image_size(self, data: ImageData) -> int:
        """Return the height and width of the images on which it is judged."""
        return data.image_size

    def check(self, space: SearchSpace, genotype: Genotype | None, data: ImageData, task: Task) -> None:
        """Raise a ValueError unless what a space has (or the one architecture, if it is known) can be judged so."""


@dataclass(frozen=True)
class Retraining(Evaluation):
    """Train the discrete network from scratch; test it once, at the end.

    Attributes:
        network: The skeleton: what `SearchSpace.network` takes besides genotype, image size, outputs and channels.
        validation_share: Share of the training images that is held out and validated on after every epoch; 0 trains on
            all. The last epoch's network is tested whatever the validation says.
        learning_rate_min: Where the cosine schedule ends; null: no such schedule.
        learning_rate_decay: What the learning rate is multiplied by after every epoch, in place of that schedule; null
            for both keeps it constant.
        gradient_clip: Largest norm of the gradient; null: not clipped.
        cutout: Side of the cutout in pixels; 0: none.
        drop_path: Probability of dropping a path in the last epoch; it grows linearly from 0.
        auxiliary_weight: Weight of the auxiliary head's loss; 0: no such head.
        capture: `cuda_graphs` replays the steps as CUDA graphs, recorded anew whenever drop path grows.
    """

    name: str
    network: Mapping[str, Any]
    epochs: PositiveInt
    batch_size: PositiveInt
    validation_share: FractionOrZero
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    learning_rate_min: NonNegativeFloat | None
    gradient_clip: PositiveFloat | None
    cutout: NonNegativeInt
    drop_path: FractionOrZero
    auxiliary_weight: NonNegativeFloat
    label_smoothing: FractionOrZero
    capture: Literal["none", "cuda_graphs"]
    learning_rate_decay: FractionOrOne | None = None

    def __post_init__(self) -> None:
        check_options("evaluation.network", self.network, Mapping)
        check_fields(self, "evaluation")
        if self.learning_rate_min is not None and self.learning_rate_decay is not None:
            raise ValueError(
                f"evaluation.learning_rate_min={self.learning_rate_min} ends a cosine schedule, and "
                f"evaluation.learning_rate_decay={self.learning_rate_decay} multiplies the learning rate after every "
                "epoch. Set one of them to null."
            )
        check_optimizer("evaluation.optimizer", self.optimizer)

    def trained_images(self, images: int) -> float:
        return self.epochs * (1 - self.validation_share) * images

    def judged_sizes(self, space: SearchSpace) -> Mapping[str, Any]:
        return self.network

    def judged_network(self, space: SearchSpace, genotype: Genotype, data: ImageData, outputs: int) -> DiscreteNetwork:
        return space.network(genotype, data.image_size, outputs, data.channels, **self.skeleton)

    @property
    def skeleton(self) -> dict[str, Any]:
        """What the network is built with; the auxiliary head only where its loss counts."""
        given = {name: value for name, value in self.network.items() if value is not None}
        return {**given, **({"auxiliary": True} if self.auxiliary_weight else {})}

    def check(self, space: SearchSpace, genotype: Genotype | None, data: ImageData, task: Task) -> None:
        try:
            with torch.device("meta"):
                self.judged_network(space, genotype or space.example(), data, task.outputs(data))
        except TypeError as error:
            raise ValueError(
                f"evaluation={self.name} does not fit search space {space.name!r}: it makes the network of "
                f"{', '.join(sorted(self.skeleton))}, not all of which networks of this space have. Choose another "
                "evaluation, or leave evaluation=... out for the one that suits the space."
            ) from error
        except ValueError as error:
            raise ValueError(f"evaluation.network: {error}") from error
        data.augmentation(self.cutout)
        task.smoothed(self.label_smoothing)

    def schedule(self, optimizer: Optimizer) -> LRScheduler | None:
        """Return the schedule of the learning rate, stepped once per epoch."""
        if self.learning_rate_decay is not None:
            return ExponentialLR(optimizer, self.learning_rate_decay)
        if self.learning_rate_min is None:
            return None
        return CosineAnnealingLR(optimizer, T_max=self.epochs, eta_min=self.learning_rate_min)


class NoEvaluation(Evaluation):
    """Stop after the selection.

    An experiment sets options of `Retraining` whatever the evaluation is (`experiment=grid_small evaluation=none`):
    nothing reads them, but one that `Retraining` does not have either is a ValueError.
    """

    epochs = 0
    capture = "none"

    def __init__(self, name: str, **retraining: Any) -> None:
        self.name = name
        options = [field.name for field in fields(Retraining)]
        if wrong := [option for option in retraining if option not in options]:
            raise ValueError(
                f"evaluation.{wrong[0]} must be an option of a retraining, which evaluation=none leaves aside: "
                f"{', '.join(options)}. Correct or remove it."
            )
