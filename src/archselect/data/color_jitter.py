"""Random changes of the colours of a batch of images, on the device that they are on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

import torch
from torch import Tensor

from archselect.utils.validation import Constraint, NonNegativeFloat, check_fields, check_options

STEPS = 2**24
"""A drawn whole number below this one stands for its share of it, which float32 has exactly."""

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601-7, sec. 2.5.1), as in Pillow and torchvision."""

HUE = Constraint("lie between 0 and 0.5", lambda value: type(value) in (int, float) and 0 <= value <= 0.5)


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue of each image are changed, in this order, as torchvision changes them.

    Attributes:
        brightness: An image is multiplied by a number between 1 - brightness, or 0, and 1 + brightness; likewise
        contrast: its distance from its mean grey, and
        saturation: the distance of each pixel from its own grey.
        hue: Colours are turned by up to this share of the colour circle, to either side.

    Raises:
        ValueError: A number is negative, or a hue more than half of the circle.
    """

    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, HUE] = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "data.color_jitter")

    @classmethod
    def of(cls, options: Any) -> "ColorJitter":
        """Return the one that options ask for; a ValueError says which name is none of the four."""
        check_options("data.color_jitter", options, Mapping)
        names = [field.name for field in fields(cls)]
        if unknown := sorted(map(str, options.keys() - {*names})):
            raise ValueError(f"data.color_jitter has {', '.join(names)}; got {', '.join(unknown)}.")
        return cls(**options)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return images `(B, H, W, 3)`, whose values lie between 0 and 255, as their `draws` `(B, 4)` change them."""
        if images.shape[-1] != 3:
            raise ValueError(f"Expected images of 3 channels, whose colours are changed, got {images.shape[-1]}.")
        shares = (draws.float() / STEPS).unflatten(1, (4, 1, 1, 1)).unbind(1)
        brightness, contrast, saturation = (
            torch.lerp(torch.full_like(share, max(0.0, 1 - strength)), torch.full_like(share, 1 + strength), share)
            for share, strength in zip(shares, (self.brightness, self.contrast, self.saturation), strict=False)
        )
        images = (images * brightness).clamp(0, 255)
        images = torch.lerp(grey(images).mean((1, 2), keepdim=True), images, contrast).clamp(0, 255)
        images = torch.lerp(grey(images), images, saturation).clamp(0, 255)
        return turned(images, (2 * shares[3] - 1) * self.hue) if self.hue else images


def grey(images: Tensor) -> Tensor:
    """Return the grey `(B, H, W, 1)` of images `(B, H, W, 3)`."""
    red, green, blue = images.split(1, dim=-1)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Return images `(B, H, W, 3)` whose hue in HSV is turned by a share of the circle each, `turns` `(B, 1, 1, 1)`.

    Value and chroma stay. In sixths of the circle red is at 0, green at 2 and blue at 4; a channel that is `distance`
    away from the colour has the value, less all of the chroma from 2 on and a part of it between 1 and 2.
    """
    value = images.amax(dim=-1, keepdim=True)
    chroma = value - images.amin(dim=-1, keepdim=True)
    red, green, blue = (images / chroma.where(chroma > 0, 1)).split(1, dim=-1)
    is_red, is_green = value == images[..., :1], value == images[..., 1:2]
    sixths = torch.where(is_red, green - blue, torch.where(is_green, 2 + blue - red, 4 + red - green)) + 6 * turns
    around = (sixths - torch.arange(0, 6, 2, device=images.device)) % 6  # (B, H, W, 3)
    distance = torch.minimum(around, 6 - around)
    return value - chroma * (distance - 1).clamp(0, 1)
