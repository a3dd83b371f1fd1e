"""Every kind of fault alone, with work in flight: that each one hits, what it leaves, and how long recovery takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from tests.faults import liveness_faults, storm, way_faults
from tests.faults.evidence import Fault
from tests.faults.proxy import BlackHole, CutAfter, Latency, Reset
from tests.faults.proxy import Fault as WayFault
from tests.faults.recovery import Recovery, group_of, summarise
from tests.faults.service import ServiceUnderTest
from tests.faults.storm import Draw, Kind
from tests.faults.trial import Trial
from tests.faults.verdict import Verdict

WORKFLOWS = 12
PER_SECOND = 6.0
BEFORE_SECONDS = 0.8
"""How long work is under way before the fault strikes."""

END_SECONDS = 60.0
MOST_TRIES = 4
RESTARTS = 5
"""How often a server is restarted: one case has no 95th percentile."""
WAY_SECONDS = 2.0

WAYS: tuple[WayFault, ...] = (
    Latency(300, 100, seed=1),
    BlackHole(),
    Reset(),
    CutAfter(150, "to_upstream"),
    CutAfter(40, "to_client"),
)


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault that hit, and how long what was open then took to end; None when it did not."""

    fault: Fault
    recovery_seconds: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class OneByOneReport:
    """What came of each kind."""

    struck: tuple[Struck, ...]
    missed: tuple[str, ...]
    recoveries: tuple[Recovery, ...]
    verdict: Verdict

    @property
    def failures(self) -> list[str]:
        """Whatever keeps it from being a pass."""
        return [
            *(f"{name} never hit" for name in self.missed),
            *(f"{one.fault.kind}: {one.why}" for one in self.struck if one.recovery_seconds is None),
            *(f"{one.group}: p95 {one.p95:.1f} s" for one in self.recoveries if not one.is_within),
            *(f"{kind}: {count}" for kind, count in self.verdict.kinds().items()),
        ]

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "struck": [asdict(one) for one in self.struck],
            "missed": list(self.missed),
            "recoveries": [one.as_json() for one in self.recoveries],
            "verdict": self.verdict.as_json(),
            "failures": self.failures,
        }


def every_kind(service: ServiceUnderTest, restarts: int = RESTARTS) -> list[Kind]:
    """The storm's kinds, those that restart a server so many times, each fault of each way by itself, and what is too
    slow for a storm: a worker that PostgreSQL gives up."""
    named = [kind for kind in storm.available(service) if not kind.name.startswith("way")]
    repeated = [kind for kind in named for _ in range(restarts if kind.is_restart else 1)]
    repeated += [
        Kind("lose a worker", 1, lambda trial, _: liveness_faults.lose_one_worker(trial.service)),
        Kind("too many clients", 1, lambda trial, _: liveness_faults.fill_up_for_one_worker(trial.service)),
    ]
    return repeated + [
        _on_the_way(part, fault) for part in (*service.sinks, *service.proxies) for fault in WAYS
    ]


def _on_the_way(part: str, fault: WayFault) -> Kind:
    def strike(trial: Trial, _draw: Draw) -> Fault:
        return way_faults.disturb(trial.service, part, fault, WAY_SECONDS)

    return Kind(f"{type(fault).__name__} before {part}", 1, strike)


def run(trial: Trial, kinds: Sequence[Kind], seed: int, tell: Callable[[str], None]) -> OneByOneReport:
    """Each kind until it hits, every time with new work and a wait for its end; then the checker."""
    draw = random.Random(seed)
    struck: list[Struck] = []
    missed: list[str] = []
    for number, kind in enumerate(kinds, start=1):
        one = _strike(trial, kind, draw, f"k{number}")
        if one is None:
            missed.append(kind.name)
            tell(f"{number}. {kind.name}: never hit")
            continue
        struck.append(one)
        took = "stuck" if one.recovery_seconds is None else f"ended {one.recovery_seconds:.1f} s later"
        tell(f"{number}. {one.fault.kind} {one.fault.target}: {took} ({one.fault.how[:90]})")
    measured = [
        (group_of(one.fault), one.recovery_seconds) for one in struck if one.recovery_seconds is not None
    ]
    return OneByOneReport(
        tuple(struck), tuple(missed), tuple(summarise(measured)), trial.check(verify=True, metrics=True)
    )


def _strike(trial: Trial, kind: Kind, draw: Draw, prefix: str) -> Struck | None:
    for again in range(MOST_TRIES):
        events = trial.generator.events(f"{prefix}.{again}", WORKFLOWS)
        sending = trial.generator.begin_at_rate(events, PER_SECOND)
        time.sleep(BEFORE_SECONDS)
        open_before = trial.open_now()
        fault = trial.service.evidence.write(kind.strike(trial, random.Random(draw.getrandbits(64))))
        sending.result()
        ended = trial.wait_for_ends([event.id for event in events], within=END_SECONDS)
        if not fault.hit and ended.all_of_them:
            continue
        if not ended.all_of_them:
            return Struck(fault, None, f"not ended {END_SECONDS:g} s later: {trial.what_is_stuck()}")
        ends = trial.ends_of(open_before)
        return Struck(fault, max(0.0, max(ends, default=fault.at) - fault.recovery_from))
    return None
