"""Memory on a CPU: what a step frees is kept for the next one.

The C library gives large blocks back to the operating system as soon as they are free, which then has to clear and map
every page of them again, thousands of times per step. Kept, a step on a CPU takes up to a tenth less time (RESULTS.md).
"""

import ctypes

# Of mallopt(3): blocks of up to 32 MB, its largest value, come from the heap, and the heap's free end stays.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
LARGEST_FROM_HEAP, KEPT = 32 * 2**20, 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GB that it frees; return whether the C library (glibc) knows how."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_FROM_HEAP) and mallopt(TRIM_THRESHOLD, KEPT))
