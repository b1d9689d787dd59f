"""What determines a stage's result, and the folder name that follows from it."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, get_args

from archselect.safe_io.files import nodes

Kind = Literal["search", "selection", "evaluation", "analysis"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class StageKey:
    """What determines a stage's result.

    Attributes:
        kind: Which of the four kinds of stages.
        label: The readable part of the folder's name: letters, digits, `-`, `_` and `.`.
        identity: Everything the result depends on (the stage's part of the config, the seed, the digests of the stages
            it starts from, the stage's version) as plain JSON data. 1 and 1.0 are different values.
    """

    kind: Kind
    label: str
    identity: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"A stage is one of {', '.join(get_args(Kind))}, not {self.kind!r}.")
        if not _LABEL.fullmatch(self.label):
            raise ValueError(
                f"A stage's label names a folder: up to 200 letters, digits, '-', '_' and '.', the first a letter or a "
                f"digit; got {self.label!r}."
            )
        for place, value in nodes(self.identity, "identity"):
            _check_plain(place, value)
        # A copy: the caller may go on changing his own.
        object.__setattr__(self, "identity", json.loads(canonical(self.identity)))

    @property
    def digest(self) -> str:
        """That of the identity."""
        return digest_of(self.identity)

    @property
    def folder_name(self) -> str:
        """The label, for people, and the digest, for certainty."""
        return f"{self.label}-{self.digest}"


def canonical(identity: Mapping[str, Any]) -> str:
    """Return the one JSON text of an identity."""
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(identity: Mapping[str, Any]) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of an identity's canonical JSON."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:12]


def _check_plain(place: str, value: Any) -> None:
    """Raise unless `value` has one JSON form, so that equal identities have equal digests."""
    is_plain = type(value) in (NoneType, bool, int, float, str, list, dict)
    is_infinite = type(value) is float and not math.isfinite(value)
    if not is_plain or is_infinite or (type(value) is dict and any(type(name) is not str for name in value)):
        raise ValueError(
            f"{place} must be plain data (None, bool, int, finite float, str, list, or dict with text as keys); got "
            f"{value!r} of type {type(value).__name__}."
        )
