"""Arming fault points in a service that runs: see ``inside/crashing.py`` for the other side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.kernel.fault_points import FaultPoint

Act = Literal["kill", "stop"]
Role = Literal["", "api", "worker", "child"]


@dataclass(frozen=True, slots=True)
class Strike:
    """Evidence of one crash, written by the process before it ended itself."""

    point: str
    queue: str
    act: str
    pid: int
    role: str
    program: str
    at: float


class Arming:
    """The folder through which the service's processes are told where to end themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("armed", "taken", "passed"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def arm(self, point: FaultPoint, queue: str, *, act: Act = "kill", only: Role = "") -> None:
        """The next process of that role to reach the point does ``act`` to itself, once."""
        fresh = self.folder / f"{queue}.{point.value}.new"
        fresh.write_text(f"{act} {only}" if only else act)
        fresh.replace(self._armed(point, queue))

    def disarm(self, point: FaultPoint, queue: str) -> bool:
        """Take it back; False when a process took it first."""
        try:
            self._armed(point, queue).unlink()
        except FileNotFoundError:
            return False
        return True

    def passed(self) -> frozenset[str]:
        """Every point that any process has passed so far, as ``<queue>.<point>``."""
        return frozenset(path.name for path in (self.folder / "passed").iterdir())

    def strikes(self) -> list[Strike]:
        """All evidence so far, in its order."""
        path = self.folder / "struck.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [Strike(**{name: line[name] for name in Strike.__slots__}) for line in found]

    def _armed(self, point: FaultPoint, queue: str) -> Path:
        return self.folder / "armed" / f"{queue}.{point.value}"
