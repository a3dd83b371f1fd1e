"""What was done to the service, and how it is known that it hit. A fault without evidence does not count."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are seconds since the epoch; one that strikes at a moment has ``until == at``.

    ``back_at`` is when what was taken away was there again (a server, a way through); recovery counts from there,
    else from ``at``.
    """

    kind: str
    target: str
    at: float
    until: float
    hit: bool
    how: str
    """How it is known that it hit; else why it did not."""
    touches: tuple[str, ...] = ()
    """What could not do its work meanwhile: queues whose worker was hit, ``postgresql``, ``redis``, a sink's name."""
    back_at: float | None = None

    @property
    def recovery_from(self) -> float:
        """The moment from which recovery is measured."""
        return self.at if self.back_at is None else self.back_at


class EvidenceFile:
    """Faults as lines of JSON, for the checker and whoever looks afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, fault: Fault) -> Fault:
        """Append it."""
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps(asdict(fault)) + "\n")
        return fault
