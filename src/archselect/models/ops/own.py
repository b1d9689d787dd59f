"""Operations of a user's own: a plain module of his and its arguments, under a name that genotypes store.

    operations: [skip_connect, sep_conv_3x3, {name: mbconv, _target_: my_ops.MBConv, expansion: 3}]

What such a module must do is its contract, which `contract` checks; docs/guides/own_operations.md says it to users.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from archselect.distributed.batch_norm import convert_batch_norm
from archselect.models.ops.primitives import PRIMITIVES, Primitive
from archselect.safe_io.files import nodes
from archselect.utils.validation import imported

GIVEN = ("channels", "stride", "affine")
"""What the place of an operation says, and no definition may."""


@dataclass(init=False)
class Operation:
    """A candidate operation of one's own: `module(channels, stride, affine=..., **arguments)`.

    Args:
        name: What genotypes, figures and reports call it: letters, digits and `_`; none of the package's.
        module: A class, or another callable, that gives an `nn.Module`.
        arguments: What it takes besides, plain values.

    Raises:
        ValueError: The name is taken or no name, or an argument is what the place says, or more than a plain value.

    Example:
        >>> import torch
        >>> class Blur(torch.nn.Module):  # keeps size and channels; halves the size at stride 2
        ...     def __init__(self, channels: int, stride: int, affine: bool, kernel: int) -> None:
        ...         super().__init__()
        ...         self.pool = torch.nn.AvgPool2d(kernel, stride, kernel // 2)
        ...
        ...     def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...         return self.pool(x)
        >>> operations = ["skip_connect", archselect.Operation("blur_5x5", Blur, kernel=5)]
        >>> space = archselect.DartsSpace("blurred", operations, channels=4, layers=3)
        >>> space.cells["normal"].operations[0]
        ('skip_connect', 'blur_5x5')
    """

    name: str
    module: Callable[..., nn.Module]
    arguments: dict[str, Any]

    def __init__(self, name: str, module: Callable[..., nn.Module], /, **arguments: Any) -> None:
        _check_name(name)
        for argument in arguments:
            if argument in GIVEN or argument.startswith("_"):
                raise ValueError(
                    f"Operation {name!r} must not set {argument}: it is built as Class(channels, stride, affine=..., "
                    "ARGUMENTS), where channels, stride and affine follow from its place. Remove it, or rename it."
                )
        if any(place.endswith("_target_") for place, _ in nodes(arguments)):
            raise ValueError(
                f"The arguments of operation {name!r} must be plain values; got a _target_ among them. Let its class "
                "make that object: each edge needs one of its own."
            )
        self.name, self.module, self.arguments = name, module, arguments

    @staticmethod
    def from_config(definition: Mapping[str, Any]) -> "Operation":
        """Return the operation that a mapping with `name`, `_target_` and arguments defines; imports its module."""
        if lacking := [key for key in ("name", "_target_") if not isinstance(definition.get(key), str)]:
            raise ValueError(
                "An operation of your own is {name: NAME, _target_: my_module.MyClass, ARGUMENTS}; "
                f"{dict(definition)} has no {' and no '.join(lacking)}."
            )
        name, target = definition["name"], definition["_target_"]
        arguments = {str(key): value for key, value in definition.items() if key not in ("name", "_target_")}
        return Operation(name, _found(name, target), **arguments)

    @property
    def definition(self) -> dict[str, Any]:
        """What it is made of, as plain data: `_target_` and arguments."""
        path = [getattr(self.module, part, "") for part in ("__module__", "__qualname__")]
        return {"_target_": ".".join(path) if all(path) else repr(self.module), **self.arguments}

    @property
    def primitive(self) -> Primitive:
        """The operation as search spaces know it."""
        return Primitive(self.build, learns=True, definition=self.definition)

    def build(self, channels: int, stride: int, affine: bool) -> nn.Module:
        """Build it; its batch normalisations take the statistics of all processes, as the package's do."""
        try:
            module = self.module(channels, stride, affine=affine, **self.arguments)
        except Exception as error:
            raise ValueError(
                f"Operation {self.name!r} cannot be built as {self.call(channels, stride, affine)}: "
                f"{type(error).__name__}: {error}. It must take so many channels, strides 1 and 2 and "
                "affine, besides its arguments in search_space.operations."
            ) from error
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"Operation {self.name!r}: {self.call(channels, stride, affine)} must give a torch.nn.Module; got a "
                f"{type(module).__name__}."
            )
        convert_batch_norm(module)
        return module

    def call(self, channels: int, stride: int, affine: bool) -> str:
        """Return how it is built, as one would type it."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"{self.definition['_target_']}({channels}, {stride}, affine={affine}{arguments})"


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ValueError(f"The name of an operation is letters, digits and '_', no digit first; got {name!r}.")
    if name in PRIMITIVES:
        raise ValueError(
            f"Operation {name!r} is one of the package's, so search_space.operations must not define it anew. Give "
            "yours another name."
        )
    if hasattr(nn.ModuleDict(), name):  # a supernet holds operations by name, as attributes
        raise ValueError(f"An operation cannot be called {name!r}: modules of PyTorch have that. Give it another name.")


def _found(name: str, target: str) -> Callable[..., nn.Module]:
    found = imported(target, f"Operation {name!r} is said to be")
    if not callable(found):
        raise ValueError(f"Operation {name!r}: {target} must be a class of modules; it is {found!r}.")
    made: Callable[..., nn.Module] = found
    return made
