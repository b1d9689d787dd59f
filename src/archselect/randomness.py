"""Every random choice is a pure function of what it is for.

A run that was cut off and goes on therefore needs no generator state: the order of the data in epoch 7 of seed 0 is
`generator_for(0, "search", "order", 7)`, whatever happened before.
"""

import hashlib

import torch


def derived_seed(*purpose: int | str) -> int:
    """Return a 63-bit seed that depends on every part of `purpose` and on nothing else."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in purpose)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(*purpose: int | str) -> torch.Generator:
    """Return a CPU generator seeded for `purpose`, e.g. `generator_for(seed, "search", "order", epoch)`."""
    return torch.Generator().manual_seed(derived_seed(*purpose))


def seed_generators(seed: int) -> None:
    """Seed PyTorch's own generators: that of the CPU, and those of CUDA and MPS devices where there are any.

    `torch.manual_seed` prepares absent devices, too: a formatted stack trace for each kind, 40 times the time.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
