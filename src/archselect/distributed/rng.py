"""Every random choice is a pure function of what it is for.

A run that was cut off and goes on therefore needs no generator state: the order of the data in epoch 7 of seed 0 is
`generator_for(0, "search", "order", 7)`, whatever happened before.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from archselect.distributed.process_group import is_sharded, shard

_alike: list[Tensor] = []


def derived_seed(*rng_key: int | str) -> int:
    """Return a 63-bit seed that depends on every part of `rng_key` and on nothing else."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in rng_key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(*rng_key: int | str) -> torch.Generator:
    """Return a CPU generator seeded for `rng_key`."""
    return torch.Generator().manual_seed(derived_seed(*rng_key))


def seed_generators(seed: int) -> None:
    """Seed PyTorch's own generators: that of the CPU, and those of CUDA and MPS devices where there are any.

    Where batches are sharded, what is drawn for every image (drop path, noise operations) must differ between the
    processes, so each is seeded for itself; what is drawn once for a step is drawn under `drawn_alike`.

    `torch.manual_seed` prepares absent devices, too: a formatted stack trace for each kind, 40 times the time.
    """
    _seed(seed)
    if is_sharded():
        _alike[:] = _state()
        _seed(derived_seed(seed, "rank", shard().rank))


@contextmanager
def drawn_alike() -> Iterator[None]:
    """Draw the same in all processes, which must all be here equally often since `seed_generators`.

    The numbers come from a stream of their own: an uneven batch takes unequal numbers of those drawn per image.
    """
    if not is_sharded() or not _alike:
        yield
        return
    own = _state()
    _restore(_alike)
    try:
        yield
    finally:
        _alike[:] = _state()
        _restore(own)


def generator_states() -> list[list[Tensor]]:
    """Return the states of PyTorch's generators, and of those that all processes draw alike from, on the CPU."""
    return [_state(), list(_alike)]


def restore_generators(states: list[list[Tensor]]) -> None:
    """Go on drawing where `generator_states` was asked for."""
    own, _alike[:] = states
    _restore(own)


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _state() -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *cuda]


def _restore(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    for cuda in state[1:]:
        torch.cuda.set_rng_state(cuda)
