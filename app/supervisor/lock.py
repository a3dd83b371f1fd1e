"""One owner for a run folder at a time, by a lock that the kernel takes back from the dead."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from app.supervisor.errors import AlreadyRunningError

POLL_SECONDS = 0.05


class FolderLock:
    """flock(2) on a file: a killed owner leaves the file, never the lock."""

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._owner = owner
        self._descriptor: int | None = None

    def acquire(self, *, wait_seconds: float = 0.0) -> None:
        """Take the lock, at once or within ``wait_seconds``; else raise AlreadyRunningError with the owner's pid."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while not _take(descriptor):
            if time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunningError(
                f"{self._owner} already runs on {self._path.parent.parent} (process {pid}).",
                "Stop it with `python -m app down`, or choose another run folder with INTERLOCK_HOME.",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
