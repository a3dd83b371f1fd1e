"""The matrix: one crash at every registered fault point of every queue, one after the other, in one running service."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from app.kernel.fault_points import REGISTERED, FaultPoint
from tests.faults import way_faults
from tests.faults.arming import Role, Strike
from tests.faults.recovery import Recovery, group_of, summarise
from tests.faults.stimuli import STIMULI, by_http
from tests.faults.trial import Trial, Work
from tests.faults.verdict import Verdict

STRIKE_SECONDS = 4.0
"""How long a point may take to be reached, before more work is given."""

MOST_TRIES = 12

END_SECONDS = 60.0
"""How long what a crash met may take to end, before the cell counts as stuck."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of one queue, and which kind of process is to crash there."""

    queue: str
    point: FaultPoint
    role: Role
    way: str = ""
    """Which of the queue's stimuli makes its work pass the point."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.queue}.{self.point.value} ({', '.join(filter(None, (self.way, self.role or 'any')))})"


@dataclass(frozen=True, slots=True)
class Crash:
    """What came of one cell."""

    cell: Cell
    strike: Strike | None
    recovery_seconds: float | None
    why: str = ""
    """Why it does not count, or what is stuck."""


@dataclass(frozen=True, slots=True)
class MatrixReport:
    """What came of all cells."""

    crashes: tuple[Crash, ...]
    uncovered: tuple[str, ...]
    unregistered: tuple[str, ...]
    recoveries: tuple[Recovery, ...]
    verdict: Verdict

    @property
    def failures(self) -> list[str]:
        """Whatever keeps it from being a pass."""
        return [
            *(f"{name} has no stimulus: nothing crashes there" for name in self.uncovered),
            *(f"{name} is passed and not registered: nothing crashes there" for name in self.unregistered),
            *(f"{crash.cell.name}: {crash.why}" for crash in self.crashes if crash.recovery_seconds is None),
            *(f"{one.group}: p95 {one.p95:.1f} s" for one in self.recoveries if not one.is_within),
            *(f"{kind}: {count}" for kind, count in self.verdict.kinds().items()),
        ]

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "crashes": [asdict(crash) for crash in self.crashes],
            "uncovered": list(self.uncovered),
            "unregistered": list(self.unregistered),
            "recoveries": [one.as_json() for one in self.recoveries],
            "verdict": self.verdict.as_json(),
            "failures": self.failures,
        }


def all_cells(*roles: Role) -> list[Cell]:
    """Every registered point of every queue, with each of its stimuli, in each of these roles (the API only ingests).

    They are so ordered that no queue's worker dies twice in a row.
    """
    columns = [
        [Cell(queue, point, role, way) for point in points]
        for role in roles
        for queue, points in REGISTERED.items()
        for way in STIMULI.get(queue, ())
        if queue == "ingestion" or role != "api"
    ]
    rows = itertools.zip_longest(*columns)
    return [cell for row in rows for cell in row if cell is not None]


def rotating(cells: Sequence[Cell]) -> list[Cell]:
    """Of these, each point once, at the queues in turn: the short form."""
    chosen: dict[FaultPoint, Cell] = {}
    used: dict[str, int] = {}
    for point in FaultPoint:
        having = [cell for cell in cells if cell.point is point]
        if having:
            chosen[point] = min(having, key=lambda cell: used.get(cell.queue, 0))
            used[chosen[point].queue] = used.get(chosen[point].queue, 0) + 1
    return list(chosen.values())


def uncovered() -> tuple[str, ...]:
    """The registered points of queues that have no stimulus."""
    return tuple(name for name in registered() if name.partition(".")[0] not in STIMULI)


def registered() -> tuple[str, ...]:
    """Every registered point, as ``<queue>.<point>``."""
    return tuple(f"{queue}.{point.value}" for queue, points in REGISTERED.items() for point in points)


def unregistered(trial: Trial) -> tuple[str, ...]:
    """The points that the service's processes have passed, and that are not registered."""
    return tuple(sorted(trial.service.arming.passed() - set(registered())))


def run(trial: Trial, cells: Iterable[Cell], tell: Callable[[str], None]) -> MatrixReport:
    """One crash for each cell, each waited for until all that it met has ended; then the checker."""
    crashes = []
    measured = []
    for number, cell in enumerate(cells, start=1):
        crash, group = _crash(trial, cell, f"m{number}")
        crashes.append(crash)
        if crash.recovery_seconds is not None:
            measured.append((group, crash.recovery_seconds))
            tell(f"{number}. {cell.name}: ended {crash.recovery_seconds:.1f} s after the crash")
        else:
            tell(f"{number}. {cell.name}: {crash.why}")
    recoveries = tuple(summarise(measured))
    return MatrixReport(
        tuple(crashes), uncovered(), unregistered(trial), recoveries, trial.check(verify=True, metrics=True)
    )


def _crash(trial: Trial, cell: Cell, prefix: str) -> tuple[Crash, str]:
    arming = trial.service.arming
    seen = len(arming.strikes())
    arming.arm(cell.point, cell.queue, only=cell.role)
    stimulus = by_http if cell.role == "api" else STIMULI[cell.queue][cell.way]
    work = Work()
    strike = None
    for again in range(MOST_TRIES):
        # Another kind of process may have taken the work that was meant to meet the point.
        work += stimulus(trial, f"{prefix}.{again}")
        strike = trial.await_strike(seen, within=STRIKE_SECONDS)
        if strike is not None:
            break
    if strike is None and arming.disarm(cell.point, cell.queue):
        return Crash(cell, None, None, "the point was not reached"), ""
    strike = strike or trial.await_strike(seen, within=5.0)
    assert strike is not None, "an armed point was taken without evidence"
    group = group_of(trial.note_strike(strike))
    if cell.queue == "dead_letter" and cell.role != "child":
        # Only what PostgreSQL knows is rung for again. A report comes back after the broker's visibility timeout.
        way_faults.put_time_forward(trial.service)
        group = "worker process with a report, its visibility timeout put forward"
    ended = trial.wait_for(work, within=END_SECONDS)
    if not ended.all_of_them or ended.last_at is None:
        why = f"not ended {END_SECONDS:g} s later: {trial.what_is_stuck()}"
        return Crash(cell, strike, None, why), group
    return Crash(cell, strike, ended.last_at - strike.at), group
