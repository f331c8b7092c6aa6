"""Giving memory back while several networks train side by side.

glibc keeps what a thread frees for that thread, and takes ever larger blocks into its own
keeping: three networks then hold some 200 MB that none of them uses. Elsewhere than on glibc
these calls do nothing.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_RETURN_FROM = 4 * 1024 * 1024
"""Smaller blocks come too often: each return costs page faults."""


def return_large_blocks() -> None:
    """From now on this process returns freed blocks of 4 MB and more at once."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _RETURN_FROM)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _RETURN_FROM)


def return_freed_memory() -> None:
    """Return what is free in any thread's keeping now."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@lru_cache(maxsize=1)
def _glibc() -> Any:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # not a POSIX system
        return None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
