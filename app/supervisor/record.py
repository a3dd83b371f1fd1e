"""What the run folder remembers of the processes that were started in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Recorded:
    """A started process; its creation time (seconds since the epoch) guards against a reused pid."""

    name: str
    pid: int
    created: float
    restarts: int = 0

    def find(self) -> psutil.Process | None:
        """The process, if this very one still runs."""
        try:
            found = psutil.Process(self.pid)
            alive = abs(found.create_time() - self.created) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if alive else None


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A service as its supervisor last wrote it down. ``listens`` gives a part's address by its name."""

    ready: bool = False
    listens: Mapping[str, str] | None = None
    processes: tuple[Recorded, ...] = ()

    def process(self, name: str) -> psutil.Process | None:
        """The live process of that name."""
        return next((entry.find() for entry in self.processes if entry.name == name), None)


class RecordFile:
    """The file that a later start, ``status`` and ``down`` find the processes by."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> ServiceRecord:
        """What was recorded; an unreadable file holds nothing that could be trusted."""
        try:
            found = json.loads(self._path.read_text())
            return ServiceRecord(
                bool(found["ready"]),
                {str(name): str(address) for name, address in found["listens"].items()},
                tuple(
                    Recorded(str(row["name"]), int(row["pid"]), float(row["created"]), int(row["restarts"]))
                    for row in found["processes"]
                ),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return ServiceRecord()

    def write(
        self, pids: Mapping[str, int], restarts: Mapping[str, int], listens: Mapping[str, str], *, ready: bool
    ) -> None:
        """Replace the record in one step, so that a kill leaves the old one or the new one."""
        rows = []
        for name, pid in pids.items():
            try:
                created = psutil.Process(pid).create_time()
            except psutil.NoSuchProcess:
                continue
            rows.append(asdict(Recorded(name, pid, created, restarts.get(name, 0))))
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"ready": ready, "listens": dict(listens), "processes": rows}, indent=1))
        fresh.replace(self._path)

    def clear(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)
