"""The storm: many workflows under many random faults, drawn from a seed; only faults that evidently hit count."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from app.kernel.fault_points import REGISTERED, FaultPoint
from tests.faults import process_faults, server_faults, way_faults
from tests.faults.evidence import Fault
from tests.faults.proxy import BlackHole, CutAfter, Latency, Reset
from tests.faults.recovery import Recovery, group_of, summarise
from tests.faults.service import ServiceUnderTest
from tests.faults.stimuli import STIMULI
from tests.faults.trial import Trial
from tests.faults.verdict import Verdict

STRIKE_SECONDS = 4.0
LAST_SECONDS = 90.0
"""How long the last workflows may take to end when the faults are over."""

TOGETHER = "several faults at once"
"""The recoveries during which another fault struck; limits are about one fault."""

Draw = random.Random
Strike = Callable[[Trial, Draw], Fault]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault, how often it is drawn, and whether it restarts a server."""

    name: str
    weight: int
    strike: Strike
    is_restart: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    workflows: int
    faults: int
    seconds: float
    seed: int
    most_restarts: int = 20


@dataclass(frozen=True, slots=True)
class StormReport:
    """What came of it."""

    plan: Plan
    faults: tuple[Fault, ...]
    missed: tuple[Fault, ...]
    seconds: float
    all_ended: bool
    recoveries: tuple[Recovery, ...]
    verdict: Verdict

    @property
    def by_kind(self) -> Counter[str]:
        """How many faults of each kind hit."""
        return Counter(fault.kind for fault in self.faults)

    @property
    def failures(self) -> list[str]:
        """Whatever keeps it from being a pass."""
        few = len(self.faults) < self.plan.faults
        return [
            *([f"only {len(self.faults)} of {self.plan.faults} faults hit"] if few else []),
            *([] if self.all_ended else ["not everything came to its end"]),
            *(f"{one.group}: p95 {one.p95:.1f} s" for one in self.recoveries if not one.is_within),
            *(f"{kind}: {count}" for kind, count in self.verdict.kinds().items()),
        ]

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "plan": asdict(self.plan),
            "faults": [asdict(fault) for fault in self.faults],
            "missed": [asdict(fault) for fault in self.missed],
            "by_kind": dict(self.by_kind),
            "seconds": self.seconds,
            "all_ended": self.all_ended,
            "recoveries": [one.as_json() for one in self.recoveries],
            "verdict": self.verdict.as_json(),
            "failures": self.failures,
        }


def schedule(plan: Plan, kinds: tuple[Kind, ...]) -> Iterator[tuple[Kind, Draw]]:
    """The faults in their order, without end, each with a source of its own for its parameters: the seed's alone."""
    draw = random.Random(plan.seed)
    restarts = 0
    while True:
        kind = draw.choices(kinds, [kind.weight for kind in kinds])[0]
        own = random.Random(draw.getrandbits(64))
        if kind.is_restart and restarts >= plan.most_restarts:
            continue
        restarts += kind.is_restart
        yield kind, own


def run(trial: Trial, plan: Plan, tell: Callable[[str], None]) -> StormReport:
    """Send the workflows at an even rate while the faults strike; wait for the last end; check."""
    began = time.monotonic()
    events = trial.generator.events("s", plan.workflows)
    feeding = trial.generator.begin_at_rate(events, plan.workflows / plan.seconds)
    hits: list[tuple[Fault, frozenset[str]]] = []
    missed: list[Fault] = []
    for kind, draw in schedule(plan, available(trial.service)):
        due = began + plan.seconds * (len(hits) + 0.5) / plan.faults
        time.sleep(max(0.0, due - time.monotonic()))
        open_before = trial.open_now()
        fault = trial.service.evidence.write(kind.strike(trial, draw))
        if fault.hit:
            hits.append((fault, open_before))
        else:
            missed.append(fault)
        tell(
            f"{len(hits)}/{plan.faults} {fault.kind} {fault.target}: {'' if fault.hit else 'missed: '}{fault.how}"
        )
        if len(hits) >= plan.faults or time.monotonic() > began + plan.seconds + LAST_SECONDS:
            break
    feeding.result()
    ended = trial.wait_for_ends([event.id for event in events], within=LAST_SECONDS)
    replayed = trial.wait_until_nothing_is_open(within=LAST_SECONDS)
    return StormReport(
        plan,
        tuple(fault for fault, _ in hits),
        tuple(missed),
        time.monotonic() - began,
        ended.all_of_them and replayed,
        tuple(summarise(_recoveries(trial, hits))),
        trial.check(verify=True, metrics=True),
    )


def _recoveries(trial: Trial, hits: list[tuple[Fault, frozenset[str]]]) -> Iterator[tuple[str, float]]:
    """From each fault until the last of those that were open when it struck had ended."""
    query = (
        "SELECT event_id, extract(epoch FROM closed_at)::float8 FROM orchestrations o"
        " WHERE closed_at IS NOT NULL AND lane = 'live'"
        " AND NOT EXISTS (SELECT 1 FROM replays r WHERE r.orchestration_id = o.orchestration_id)"
    )
    closed: dict[str, float] = dict(trial.service.rows(query))
    for fault, open_before in hits:
        ends = [closed[event] for event in open_before if event in closed]
        if not ends or max(ends) <= fault.recovery_from:
            continue
        others = (one for one, _ in hits if one is not fault)
        alone = all(one.until < fault.at or one.at > max(ends) for one in others)
        yield group_of(fault) if alone else TOGETHER, max(ends) - fault.recovery_from


def available(service: ServiceUnderTest) -> tuple[Kind, ...]:
    """The kinds of faults that this service has parts for."""
    pooled = [group.name for group in service.options.beside if group.pool == "prefork"]
    kinds = [
        Kind("crash at a point", 24, _crash_at_a_point),
        Kind("crash in a replay", 6, _crash_in_a_replay),
        Kind("kill worker", 12, _kill_worker),
        Kind("term worker", 5, _term_worker),
        Kind("stop worker", 6, _stop_worker),
        Kind("kill beat", 2, lambda trial, _: process_faults.end(trial.service, "beat")),
        Kind("kill api", 3, lambda trial, _: process_faults.end(trial.service, "api")),
        Kind(
            "kill supervisor",
            2,
            lambda trial, _: process_faults.kill_supervisor(trial.service),
            is_restart=not service.options.proxied,
        ),
        Kind("flush redis", 6, lambda trial, _: server_faults.flush_redis(trial.service)),
        Kind(
            "restart redis", 5, lambda trial, _: server_faults.restart_redis(trial.service), is_restart=True
        ),
        Kind("pause redis", 4, _pause_redis),
        Kind(
            "restart postgresql",
            5,
            lambda trial, _: server_faults.restart_postgresql(trial.service),
            is_restart=True,
        ),
        Kind("drop connections", 6, lambda trial, _: server_faults.drop_connections(trial.service)),
        Kind("shuffle messages", 8, lambda trial, draw: way_faults.shuffle_messages(trial.service, draw)),
        Kind("way to a sink", 12, _way_to_a_sink),
    ]
    if pooled:
        kinds.append(
            Kind(
                "kill child",
                8,
                lambda trial, draw: process_faults.kill_child(trial.service, draw.choice(pooled), draw),
            )
        )
    if service.proxies:
        kinds.append(Kind("way to a server", 10, _way_to_a_server))
    return tuple(kinds)


def _crash_at_a_point(trial: Trial, draw: Draw) -> Fault:
    cells = [
        (queue, point)
        for queue, points in REGISTERED.items()
        # A report whose worker died comes back after the broker's visibility timeout: a storm does not last as long.
        if queue not in {"replay", "dead_letter"}
        for point in points
    ]
    return _crash(trial, *draw.choice(cells), lambda: None)


def _crash_in_a_replay(trial: Trial, draw: Draw) -> Fault:
    """Somebody has an orchestration started anew, or one that gave up go on, and who carries it out dies."""
    point = draw.choice(REGISTERED["replay"])
    stimulus = STIMULI["replay"][draw.choice(sorted(STIMULI["replay"]))]
    prefix = f"replayed-{draw.getrandbits(32):08x}"
    return _crash(trial, "replay", point, lambda: stimulus(trial, prefix))


def _crash(trial: Trial, queue: str, point: FaultPoint, begin: Callable[[], object]) -> Fault:
    arming = trial.service.arming
    seen = len(arming.strikes())
    arming.arm(point, queue)
    why = "the point was not reached"
    try:
        begin()
    except AssertionError as error:  # a storm may keep the work from beginning
        why = f"its work did not begin: {error}"
    strike = trial.await_strike(seen, within=STRIKE_SECONDS)
    if strike is None and arming.disarm(point, queue):
        now = time.time()
        return Fault("kill worker", f"{queue}.{point.value}", now, now, False, why)
    strike = strike or trial.await_strike(seen, within=5.0)
    assert strike is not None, "an armed point was taken without evidence"
    return trial.fault_of(strike)


def _kill_worker(trial: Trial, draw: Draw) -> Fault:
    return process_faults.end(trial.service, draw.choice(process_faults.workers(trial.service) or ["none"]))


def _term_worker(trial: Trial, draw: Draw) -> Fault:
    name = draw.choice(process_faults.workers(trial.service) or ["none"])
    return process_faults.end(trial.service, name, signal.SIGTERM)


def _stop_worker(trial: Trial, draw: Draw) -> Fault:
    name = draw.choice(process_faults.workers(trial.service) or ["none"])
    return process_faults.pause(trial.service, name, draw.uniform(1.0, 6.0))


def _pause_redis(trial: Trial, draw: Draw) -> Fault:
    return server_faults.pause_redis(trial.service, draw.uniform(1.0, 5.0), by_signal=draw.random() < 0.5)


def _way_to_a_sink(trial: Trial, draw: Draw) -> Fault:
    return way_faults.disturb(
        trial.service, draw.choice(sorted(trial.service.sinks)), _draw_way(draw), draw.uniform(1.0, 4.0)
    )


def _way_to_a_server(trial: Trial, draw: Draw) -> Fault:
    return way_faults.disturb(
        trial.service, draw.choice(sorted(trial.service.proxies)), _draw_way(draw), draw.uniform(1.0, 5.0)
    )


def _draw_way(draw: Draw) -> BlackHole | CutAfter | Latency | Reset:
    drawn = draw.randrange(5)
    if drawn == 0:
        return Latency(draw.uniform(20, 400), draw.uniform(0, 100), draw.getrandbits(32))
    if drawn == 1:
        return BlackHole()
    if drawn == 2:
        return Reset()
    return CutAfter(draw.randrange(0, 400), "to_upstream" if drawn == 3 else "to_client")
