"""Stages and the store: what is computed once, kept in a folder named by what determines it, and never rewritten."""

from archselect.store.atomic_io import StoreError, atomic_write, disk_errors_explained, explanation, write_text
from archselect.store.integrity import CHECKPOINTS, SCRATCH, DamagedError
from archselect.store.key import StageKey
from archselect.store.stage_folder import StageFolder, Store

__all__ = [
    "CHECKPOINTS",
    "SCRATCH",
    "DamagedError",
    "StageFolder",
    "StageKey",
    "Store",
    "StoreError",
    "atomic_write",
    "disk_errors_explained",
    "explanation",
    "write_text",
]
