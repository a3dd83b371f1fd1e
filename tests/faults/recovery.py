"""How long it took until what a fault had met was at its end: p50, p95 and the longest, by kind of fault."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from tests.faults.evidence import Fault

LIMITS: Mapping[str, float] = {
    "worker process": 20.0,
    "pool child": 5.0,
    "Redis back": 30.0,
    "PostgreSQL back": 30.0,
}
"""Seconds, of the 95th percentile; other kinds are shown without a limit."""

_GROUPS: Mapping[str, str] = {
    "kill worker": "worker process",
    "term worker": "worker process",
    "kill child": "pool child",
    "restart redis": "Redis back",
    "pause redis": "Redis back",
    "flush redis": "Redis back",
    "black hole redis": "Redis back",
    "restart postgresql": "PostgreSQL back",
    "black hole postgresql": "PostgreSQL back",
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """The recoveries from one kind of fault, in seconds."""

    group: str
    count: int
    p50: float
    p95: float
    longest: float
    limit: float | None

    @property
    def is_within(self) -> bool:
        """Whether its 95th percentile is within the limit."""
        return self.limit is None or self.p95 <= self.limit

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {**asdict(self), "is_within": self.is_within}


def group_of(fault: Fault) -> str:
    """The kind of fault that recoveries are reported by."""
    return _GROUPS.get(fault.kind, fault.kind)


def summarise(measured: Iterable[tuple[str, float]]) -> list[Recovery]:
    """By group; those with a limit first."""
    by_group: dict[str, list[float]] = defaultdict(list)
    for group, seconds in measured:
        by_group[group].append(max(0.0, seconds))
    order = {name: place for place, name in enumerate(LIMITS)}
    return [
        Recovery(
            group,
            len(found),
            percentile(found, 0.5),
            percentile(found, 0.95),
            max(found),
            LIMITS.get(group),
        )
        for group, found in sorted(by_group.items(), key=lambda item: (order.get(item[0], 99), item[0]))
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
