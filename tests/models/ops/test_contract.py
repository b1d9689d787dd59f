"""What a module must do to be a candidate operation: one that does not is refused in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.models.ops.contract import checked
from archselect.models.ops.own import Operation


class Good(nn.Module):
    """Does what an operation must."""

    def __init__(self, channels: int, stride: int, affine: bool, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=groups)
        self.norm = nn.BatchNorm2d(channels, affine=affine)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.relu(x)))


def test_one_that_does_passes_and_nothing_is_drawn_from_the_generator() -> None:
    before = torch.get_rng_state()
    primitive = checked(Operation("good", Good), 4)
    assert torch.equal(before, torch.get_rng_state())
    assert (primitive.learns, primitive.draws, primitive.zero) == (True, False, False)
    assert primitive.definition == {"_target_": f"{__name__}.Good"}


def test_its_batch_normalisations_take_the_statistics_of_all_processes_wherever_it_holds_them() -> None:
    class Holding(Good):
        def __init__(self, channels: int, stride: int, affine: bool) -> None:
            super().__init__(channels, stride, affine)
            self.norms = [self.norm]

    built = Operation("holding", Holding).build(4, 1, True)
    assert type(built.norm) is BatchNorm2d
    assert built.norms[0] is built.norm  # type: ignore[index]


def test_one_that_draws_random_numbers_in_training_is_known_to() -> None:
    class Dropped(Good):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout2d(super().forward(x), 0.2, self.training)

    assert checked(Operation("dropped", Dropped), 4).draws


def test_one_without_weights_is_known_not_to_learn() -> None:
    class Blur(nn.AvgPool2d):
        def __init__(self, channels: int, stride: int, affine: bool) -> None:
            super().__init__(3, stride, 1)

    assert not checked(Operation("blur", Blur), 4).learns


def forward(function: Callable[[Any, Tensor], Any]) -> type[Good]:
    """Return a class that is `Good` but for its forward."""
    return type("Bad", (Good,), {"forward": function})


def with_state(self: Any, x: Tensor) -> Tensor:
    self.last = x.mean() if self.last is None else self.last
    return Good.forward(self, x) * self.last.detach()


def in_place(self: Any, x: Tensor) -> Tensor:
    return self.norm(self.conv(F.relu_(x)))


class Counting(Good):
    def __init__(self, *place: Any, **named: Any) -> None:
        super().__init__(*place, **named)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Unused(Good):
    def __init__(self, *place: Any, **named: Any) -> None:
        super().__init__(*place, **named)
        self.scale = nn.Parameter(torch.ones(()))


class Affine(Good):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, stride, True)


class Cumulative(Good):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, stride, affine)
        self.norm = nn.BatchNorm2d(channels, affine=affine, momentum=None)  # type: ignore[arg-type]


class Narrow(Good):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, stride, affine)
        self.norm = nn.BatchNorm2d(channels // 2, affine=affine)
        self.conv = nn.Conv2d(channels, channels // 2, 3, stride, 1)


class Unpadded(Good):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, stride, affine)
        self.conv = nn.Conv2d(channels, channels, 3, stride)


class Permuted(Good):
    def __init__(self, *place: Any, **named: Any) -> None:
        super().__init__(*place, **named)
        self.order = torch.randperm(4).tolist()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, self.order]


class Scaled(Good):
    def __init__(self, *place: Any, **named: Any) -> None:
        super().__init__(*place, **named)
        self.register_buffer("scale", torch.rand(4, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class Elsewhere(Scaled):
    def __init__(self, *place: Any, **named: Any) -> None:
        super().__init__(*place, **named)
        del self.scale
        self.scale = torch.ones(4, 1, 1)


class Frozen(Good):
    def __init__(self, *place: Any, **named: Any) -> None:
        super().__init__(*place, **named)
        self.conv.requires_grad_(False)


class BiasIfAffine(Good):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(channels, stride, affine)
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, bias=not affine)


class Strideless(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("bad", "arguments", "sentence"),
    [
        (Unpadded, {}, r"map images \(2, 4, 8, 8\) to \(2, 4, 8, 8\).*got \(2, 4, 6, 6\).*padding=k // 2"),
        (Narrow, {}, r"to \(2, 4, 8, 8\).*got \(2, 2, 8, 8\)\. Give as many channels as it is built with"),
        (forward(lambda self, x: (x, x)), {}, "got a tuple"),
        (forward(lambda self, x: Good.forward(self, x).detach()), {}, "its output has no gradient"),
        (forward(lambda self, x: Good.forward(self, x.detach())), {}, "a gradient in its input.*it is none"),
        (forward(lambda self, x: Good.forward(self, x.round())), {}, "not zero everywhere; it is zero"),
        (forward(lambda self, x: Good.forward(self, x) * (x - x).sqrt().sum()), {}, "it is not finite"),
        (in_place, {}, "leave the state that it reads as it is.*changes it in place"),
        (Unused, {}, "each of its parameters a finite gradient; scale gets none"),
        (Counting, {}, "keep no state between calls.*in training mode changes calls"),
        (with_state, {}, "the same for the same images in training mode"),
        (forward(lambda self, x: F.dropout(Good.forward(self, x))), {}, "the same images in evaluation mode"),
        (Affine, {}, r"no affine normalisation.*its norm, a BatchNorm2d, is affine.*BatchNorm2d\(..., affine=affine"),
        (Permuted, {}, "what another computes whose state_dict it loads.*another seed"),
        (Scaled, {}, "what another computes whose state_dict it loads.*another seed"),
        (
            forward(lambda self, x: Good.forward(self, x).double()),
            {},
            "must give torch.float32.*got torch.float64",
        ),
        (Elsewhere, {}, r"\(on PyTorch's device meta\).*belong on the input's device"),
        (forward(lambda self, x: Good.forward(self, x) * torch.ones(4, 1, 1)), {}, r"\(on PyTorch's device meta\)"),
        (Frozen, {}, "each of its parameters a finite gradient; conv.weight gets none.*a buffer"),
        (BiasIfAffine, {}, r"the same parameters and buffers with affine=True.*; conv\.bias differ"),
        (Cumulative, {}, "running statistics and a momentum; its norm is BatchNorm2d"),
        (forward(lambda self, x: x.view(len(x), -1).view_as(x)), {}, r"some in channels_last it raises.*view"),
        (forward(lambda self, x: Good.forward(self, x) * (2 if x.max() > 0 else 1)), {}, r"\(on PyTorch's device meta"),
        (Good, {"groups": 3}, r"Good\(4, 1, affine=False, groups=3\): ValueError: in_channels must be divisible"),
        (Good, {"depth": 2}, r"TypeError: .*unexpected keyword argument 'depth'"),
        (Strideless, {}, "TypeError"),
        (lambda channels, stride, affine: F.relu, {}, r"must give a torch.nn.Module; got a function"),
    ],
)
def test_one_that_does_not_is_refused(bad: Any, arguments: dict[str, Any], sentence: str) -> None:
    if bad in (in_place, with_state):
        bad = forward(bad)
    with pytest.raises(ValueError, match="^Operation 'bad'.*" + sentence):
        checked(Operation("bad", bad, **arguments), 4)
