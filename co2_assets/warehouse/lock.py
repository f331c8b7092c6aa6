"""File locks that the kernel frees when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from co2_assets.errors import WarehouseBusy

POLL_S = 0.01


@contextmanager
def exclusive(path: Path, *, timeout_s: float, holder: str) -> Iterator[None]:
    """Hold `path` exclusively, waiting at most `timeout_s`.

    Args:
        path: the lock file; made when missing, never deleted.
        timeout_s: how long to wait for another holder.
        holder: what this process is doing, shown to those who wait in vain.

    Raises:
        WarehouseBusy: the lock stayed taken; names the holder and what it does.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(descriptor, path, timeout_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}, {holder}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                held_by = os.pread(descriptor, 200, 0).decode(errors="replace")
                raise WarehouseBusy(
                    "another writer holds the warehouse",
                    where=str(path),
                    found=held_by or "a holder that left no name",
                    expected=f"the lock within {timeout_s:g} s",
                    next_step="wait for it to end, or stop that process; nothing was written",
                ) from None
            time.sleep(POLL_S)
        else:
            return


class SharedMark:
    """A shared lock that says: a living process stands behind this file.

    `set` is idempotent; `clear` gives the mark back; the kernel clears it when the
    process dies. `others` is whether any other process has set it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def set(self) -> None:
        """Mark this process as living behind the file."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def clear(self) -> None:
        """Take this process's mark away."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_set(self) -> bool:
        """Whether this process has set it."""
        return self._descriptor is not None

    def others(self) -> bool:
        """Whether another process has set it (call while not set here)."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
