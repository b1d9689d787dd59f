"""The memory of the machine."""

import os
from pathlib import Path


def total_memory() -> int:
    """Return the bytes of memory of this machine, or of the control group that this process is in."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text("ascii").strip() if group.is_file() else "max"
    return min(physical, int(limit)) if limit.isdecimal() else physical
