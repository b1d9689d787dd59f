"""Memory on a CPU: what a step frees is kept for the next one.

The C library gives large blocks back to the operating system as soon as they are free, which then has to clear and map
every page of them again, thousands of times per step. Kept, a step on a CPU takes up to a tenth less time (RESULTS.md).
"""

import ctypes
import re
import resource
import sys
from pathlib import Path

# Of mallopt(3): blocks of up to 32 MB, its largest value, come from the heap, and the heap's free end stays.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
LARGEST_FROM_HEAP, KEPT = 32 * 2**20, 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GB that it frees; return whether the C library (glibc) knows how."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_FROM_HEAP) and mallopt(TRIM_THRESHOLD, KEPT))


def peak_resident() -> int:
    """Return the most memory that this process has held, in bytes.

    Linux hands `ru_maxrss` on to the programs that a process starts: of one that a large process started, it tells the
    size of that one. So it is asked for where there is nothing better.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text("ascii"), re.MULTILINE)):
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
