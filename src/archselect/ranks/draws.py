"""Random numbers from PyTorch's own generator that are the same in all processes, or another in each.

What is drawn once for a step (Gumbel noise, the smoothing's perturbation) must be the same everywhere; what is drawn
for every image (drop path, noise operations) must not. The two come from streams of their own, because an uneven batch
takes unequal numbers of the second kind.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from archselect.randomness import derived_seed, seed_generators
from archselect.ranks.group import rank, several

_shared: list[Tensor] = []


def seed(value: int) -> None:
    """Seed PyTorch's generators: with one process by `value`; with several, the shared stream by it."""
    seed_generators(value)
    if several():
        _shared[:] = _state()
        seed_generators(derived_seed(value, "rank", rank()))


@contextmanager
def shared_draws() -> Iterator[None]:
    """Draw the same in all processes, which must all be here equally often since `seed`."""
    if not several() or not _shared:
        yield
        return
    own = _state()
    _set(_shared)
    try:
        yield
    finally:
        _shared[:] = _state()
        _set(own)


def _state() -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *cuda]


def _set(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    for cuda in state[1:]:
        torch.cuda.set_rng_state(cuda)
