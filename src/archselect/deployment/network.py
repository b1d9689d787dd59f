"""A trained network as its user holds it: plain PyTorch, and all that one must know to ask it and to build it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from archselect.data import Normalisation
from archselect.genotype import Genotype
from archselect.models.discrete.network import DiscreteNetwork
from archselect.search_spaces import SearchSpace
from archselect.tasks import Task
from archselect.utils.validation import PositiveInt, check_fields, check_options


@dataclass(frozen=True)
class Description:
    """What a network is built from and what its inputs and outputs mean, as plain data.

    Attributes:
        search_space: The config of the space, whose operations the genotype names.
        skeleton: What `SearchSpace.network` takes besides genotype, image size, classes and channels.
        genotype: As text.
        classes: Their names, in the order of the outputs.
        outputs: How many numbers the network gives per image.
        image_size: Height and width in pixels of the images that it was trained on.
        channels: Of these images.
        mean: Of each channel, by which images are normalised; their values lie between 0 and 1.
        std: Likewise the standard deviation.
        task: The config of the task, which says what outputs mean.
    """

    search_space: Mapping[str, Any]
    skeleton: Mapping[str, Any]
    genotype: str
    classes: tuple[str, ...]
    outputs: PositiveInt
    image_size: PositiveInt
    channels: PositiveInt
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_fields(self, "network")
        for name in ("search_space", "skeleton", "task"):
            check_options(f"network.{name}", getattr(self, name), Mapping)
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"network.classes must be a list of names; got {self.classes!r}.")
        Genotype.from_text(self.genotype)
        Normalisation(self.mean, self.std)


def build(description: Description, space: SearchSpace, auxiliary: bool = False) -> DiscreteNetwork:
    """Return a new network of the architecture and sizes that are described, in its space."""
    sizes = description.image_size, description.outputs, description.channels
    skeleton = {**description.skeleton, **({"auxiliary": True} if auxiliary else {})}
    return space.network(Genotype.from_text(description.genotype), *sizes, **skeleton)


class TrainedNetwork(nn.Module):
    """A network that was trained, without the auxiliary head, which only trains.

    It is called with normalised images, as it was in its training; `normalize` makes them of pixels.

    Attributes:
        network: The discrete network, which takes images of other sizes too, on which nobody has tested it.
        classes: The names of the classes, in the order of the outputs.
        normalization: Mean and standard deviation of each channel.
        image_size: Height and width in pixels of the images that it was trained on.
        channels: Of these images.
        task: Which says what outputs mean: `task.predictions(outputs)`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: DiscreteNetwork, description: Description, task: Task) -> None:
        super().__init__()
        self.network = network
        self.description, self.task = description, task
        self.classes = description.classes
        self.image_size, self.channels = description.image_size, description.channels
        self.normalization = Normalisation(description.mean, description.std)
        for name, values in zip(("scale", "shift"), self.normalization.scale_and_shift(), strict=True):
            self.register_buffer(name, values.view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs `(B, outputs)` for normalised images `(B, channels, image_size, image_size)`.

        Raises:
            ValueError: The images have another size or another number of channels.
        """
        expected = (self.channels, self.image_size, self.image_size)
        if images.dim() != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"This network was trained on images of {self.channels} channels and {self.image_size} x "
                f"{self.image_size} pixels, so it takes (B, {', '.join(map(str, expected))}); got "
                f"{tuple(images.shape)}. Scale and crop them, as python predict.py does; `.network` of it takes other "
                "sizes, untested."
            )
        return self.network(images)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return what the network is called with, for pixels `(B, channels, H, W)`.

        Args:
            pixels: Whole numbers from 0 to 255, or floating point between 0 and 1.

        Raises:
            ValueError: There are other values, or another number of channels.
        """
        fractions = pixels.is_floating_point()
        most, unlike = (1, 0.1) if fractions else (255, 0)  # resampling goes a little beyond 0 and 1
        if pixels.dim() != 4 or pixels.shape[1] != self.channels:
            raise ValueError(f"Pixels must be (B, {self.channels}, H, W) for this network; got {tuple(pixels.shape)}.")
        if pixels.dtype != torch.uint8 and pixels.numel():
            low, high = (float(one) for one in pixels.detach().aminmax())
            if not -unlike <= low <= high <= most + unlike:
                raise ValueError(
                    "Pixels must be whole numbers from 0 to 255, or fractions between 0 and 1; got "
                    f"{str(pixels.dtype).removeprefix('torch.')} from {low:g} to {high:g}. Divide fractions of 255 by "
                    "255, or hand them over as uint8."
                )
        return torch.addcmul(self.shift, pixels * 255 if fractions else pixels.float(), self.scale)
