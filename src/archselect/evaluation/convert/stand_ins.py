"""What a pickle gets for the globals that it may name: functions of ours that make plain data."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


class ConversionError(ValueError):
    """A file that cannot be converted; the message says which and why."""


class Unread:
    """Stands for a value that the table does not need."""

    __slots__ = ()


UNREAD: Final = Unread()


@dataclass(frozen=True)
class StandIn:
    """A global that a pickle may name. Only the unpickler calls it, and it is no class or function of anybody else."""

    make: Callable[..., Any]


@dataclass(frozen=True)
class NumberType:
    """numpy's description of a number: the format of `struct` for it."""

    format: str


def _number_type(code: str, *copying: object) -> NumberType:
    formats = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}
    if code not in formats:
        raise ConversionError(f"It holds numbers of numpy's type {code!r}; the benchmarks' have {', '.join(formats)}.")
    return NumberType(formats[code])


def _number(number_type: NumberType, data: bytes) -> float:
    return float(struct.unpack(number_type.format, data)[0])


def _bytes(text: str, encoding: str) -> bytes:
    """Return bytes, which protocol 2 spells as text in Latin-1."""
    if encoding != "latin1":
        raise ConversionError(f"It encodes text as {encoding!r}; pickles of bytes use 'latin1'.")
    return text.encode("latin1")


def _empty() -> dict[Any, Any]:
    return {}


def _unread_set(items: list[Any]) -> Unread:
    return UNREAD


_RESULTS = ("ArchResults", "ResultsCount")
_MODULES = ("nas_201_api.api", "nas_201_api.api_utils", "nats_bench.api_utils")
_DICTIONARY, _SET, _NUMBER = StandIn(_empty), StandIn(_unread_set), StandIn(_number)

GLOBALS: Final[Mapping[tuple[str, str], StandIn]] = {
    ("collections", "OrderedDict"): _DICTIONARY,
    ("builtins", "set"): _SET,
    ("__builtin__", "set"): _SET,
    ("_codecs", "encode"): StandIn(_bytes),
    ("numpy", "dtype"): StandIn(_number_type),
    ("numpy.core.multiarray", "scalar"): _NUMBER,
    ("numpy._core.multiarray", "scalar"): _NUMBER,
    **{(module, name): _DICTIONARY for module in _MODULES for name in _RESULTS},
}
"""All that a pickle may name, by module and name. An object of the benchmarks' classes becomes a dict of its fields."""


def stand_in(module: str, name: str) -> StandIn:
    """Return what stands for a global.

    Raises:
        ConversionError: The benchmarks' files do not name it.
    """
    if (module, name) in GLOBALS:
        return GLOBALS[module, name]
    hint = " It holds tensors, such as trained weights: take the file without them." if module[:6] == "torch." else ""
    raise ConversionError(
        f"It names the global {module}.{name}, which no file of the benchmark needs and which loading it could run; "
        f"nothing of it was run.{hint}"
    )
