"""Planted bugs, the test of the checker: each is switched on in a running service, met, and must be seen outside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import psutil

from app.kernel.fault_points import FaultPoint
from tests.faults.generator import Event
from tests.faults.trial import Trial
from tests.faults.verdict import Violation

LOST_SECONDS = 15.0
"""After so long what has not ended counts as lost: without a bug it takes a few seconds, faults included."""

MET_SECONDS = 20.0
WORKFLOWS = 4

_EXPIRE = """
UPDATE work_index SET due_at = clock_timestamp()
WHERE queue = 'dispatch' AND leased_by IS NOT NULL AND finished_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake: its switch, what it is, what makes it matter, and as what the checker must see it."""

    name: str
    what: str
    expose: Callable[[Trial, str], Sequence[Event]]
    seen_as: frozenset[str]
    within: float = LOST_SECONDS
    verify: bool = False
    """Whether it is the record that tells, when it is verified."""


@dataclass(frozen=True, slots=True)
class Met:
    """A line of a bug's own evidence."""

    bug: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What the checker said of one planted bug."""

    bug: str
    what: str
    met: int
    """How often it made a difference, by its own evidence."""
    violations: Counter[str]
    expected: frozenset[str]

    @property
    def is_seen(self) -> bool:
        """Whether it was met, and seen as what it is."""
        return self.met > 0 and bool(self.expected & set(self.violations))

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {**asdict(self), "expected": sorted(self.expected), "is_seen": self.is_seen}


def work(trial: Trial, prefix: str) -> Sequence[Event]:
    """No fault is needed."""
    return trial.submit(prefix, WORKFLOWS)


def crash(point: FaultPoint, queue: str) -> Callable[[Trial, str], Sequence[Event]]:
    """One crash at a fault point."""

    def expose(trial: Trial, prefix: str) -> Sequence[Event]:
        arming = trial.service.arming
        seen = len(arming.strikes())
        arming.arm(point, queue)
        events = trial.submit(prefix, WORKFLOWS)
        strike = trial.await_strike(seen, within=MET_SECONDS)
        assert strike is not None, f"no process came to {queue}.{point.value}"
        trial.note_strike(strike)
        return events

    return expose


def send_twice(trial: Trial, prefix: str) -> Sequence[Event]:
    """The same events again, as a client does that lost the answer."""
    events = trial.generator.events(prefix, WORKFLOWS)
    trial.generator.send(events)
    trial.generator.send(events)
    return events


def hold_up_a_worker(trial: Trial, prefix: str) -> Sequence[Event]:
    """A worker stands still between reading and writing until its lease is over and another has done the work."""
    switch = trial.service.outside / "planted" / "on" / "hold_up"
    switch.touch()
    before = len(met(trial, "skip_the_fence"))
    events = trial.submit(prefix, WORKFLOWS)
    deadline = time.monotonic() + MET_SECONDS
    while len(met(trial, "skip_the_fence")) == before:
        assert time.monotonic() < deadline, "no worker was held up"
        time.sleep(0.02)
    held = psutil.Process(met(trial, "skip_the_fence")[-1].pid)
    try:
        trial.service.execute(_EXPIRE)
        trial.wait_for_ends([event.id for event in events], within=3.5)
    finally:
        os.kill(held.pid, signal.SIGCONT)
    time.sleep(1.0)
    return events


OF_CALLS: tuple[Bug, ...] = (
    Bug("lose_the_wake", "a run is not told that it may go on", work, frozenset({"lost", "waits_for_ever"})),
    Bug(
        "draw_the_key",
        "an effect's key is drawn and not derived",
        work,
        frozenset({"does_not_verify"}),
        verify=True,
    ),
    Bug(
        "hand_over_alone",
        "a call is handed over without the run's own facts",
        work,
        frozenset({"not_as_called"}),
        within=5.0,
    ),
    Bug(
        "ask_again",
        "a run that is begun again asks its model anew, and calls once more",
        work,
        frozenset({"applied_twice", "sent_twice"}),
    ),
    Bug(
        "change_the_arguments",
        "what is sent is not what was permitted",
        work,
        frozenset({"not_as_permitted"}),
    ),
)
BUGS: tuple[Bug, ...] = (
    Bug("drop_the_key", "each attempt has a key of its own", work, frozenset({"effect_without_intent"})),
    Bug(
        "confirm_without_sending",
        "an action is recorded as confirmed that was never sent",
        work,
        frozenset({"confirmed_never_received"}),
    ),
    Bug(
        "unknown_as_retry",
        "what is unknown is taken for not taken, and sent again",
        work,
        frozenset({"sent_twice"}),
    ),
    Bug(
        "forget_the_doubt",
        "what is unknown is taken for refused",
        work,
        frozenset({"ambiguous_not_in_doubt"}),
    ),
    Bug("doubt_everything", "a confirmed effect is in doubt", work, frozenset({"false_in_doubt"})),
    Bug("close_early", "an orchestration ends before its actions", work, frozenset({"closed_early"})),
    Bug(
        "send_before_intent",
        "the intent is committed after the call",
        work,
        frozenset({"effect_without_intent"}),
    ),
    Bug(
        "begin_twice",
        "a duplicate begins a second orchestration",
        send_twice,
        frozenset({"second_orchestration"}),
    ),
    Bug(
        "skip_the_fence",
        "a worker whose lease is over goes on",
        hold_up_a_worker,
        frozenset({"sent_twice", "effect_without_intent"}),
    ),
    Bug(
        "retry_in_doubt",
        "an attempt that nobody heard of again is made again at a target that forgets keys",
        crash(FaultPoint.AFTER_EFFECT_BEFORE_RECORD, "dispatch"),
        frozenset({"sent_twice", "resent_unknown"}),
    ),
    Bug(
        "acknowledge_before_commit",
        "the sender is answered before anything is written",
        crash(FaultPoint.BEFORE_COMMIT, "ingestion"),
        frozenset({"missing_event"}),
        within=5.0,
    ),
    Bug(
        "acknowledge_early",
        "a message is acknowledged before its work, and nobody looks for what is overdue",
        crash(FaultPoint.AFTER_CLAIM, "agent_runs"),
        frozenset({"lost"}),
    ),
    Bug("lose_a_decision", "nobody is told what is due, and nobody looks", work, frozenset({"lost"})),
    Bug("lose_the_deliveries", "a decision's actions are never due", work, frozenset({"lost"})),
    Bug(
        "lease_without_end",
        "what a dead worker held is never due again",
        crash(FaultPoint.AFTER_CLAIM, "agent_runs"),
        frozenset({"lost"}),
    ),
    *OF_CALLS,
)
QUICKEST = ("drop_the_key", "confirm_without_sending", "close_early", "ask_again")


def named(names: Sequence[str]) -> list[Bug]:
    """The bugs of these names. Raises KeyError when there is none of that name."""
    by_name = {bug.name: bug for bug in BUGS}
    return [by_name[name] for name in names]


def met(trial: Trial, name: str) -> list[Met]:
    """The evidence that a bug made a difference."""
    path = trial.service.outside / "planted" / "met.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [one for one in (Met(**json.loads(line)) for line in lines) if one.bug == name]


def run(trial: Trial, bugs: Sequence[Bug], tell: Callable[[str], None]) -> list[Seen]:
    """First that without a bug nothing is seen; then each bug on its own. Raises AssertionError for a false alarm."""
    events = trial.submit("no-bug", WORKFLOWS)
    assert trial.wait_for_ends([event.id for event in events], within=60).all_of_them, trial.what_is_stuck()
    assert not trial.check().violations, trial.check().violations
    seen = []
    for bug in bugs:
        seen.append(_run_one(trial, bug))
        verdict = "seen as" if seen[-1].is_seen else "NOT SEEN:"
        tell(f"{bug.name}: {verdict} {dict(seen[-1].violations)} (met {seen[-1].met} times)")
    return seen


def _run_one(trial: Trial, bug: Bug) -> Seen:
    before = {(one.kind, one.subject) for one in trial.check(verify=bug.verify).violations}
    met_before = len(met(trial, bug.name))
    switch = trial.service.outside / "planted" / "on" / bug.name
    switch.touch()
    try:
        events = bug.expose(trial, f"{bug.name}-")
        trial.wait_for_ends([event.id for event in events], within=bug.within)
        violations = trial.check(verify=bug.verify).violations
    finally:
        switch.unlink()
    fresh = [one for one in violations if (one.kind, one.subject) not in before]
    _tidy_up(trial, events)
    return Seen(bug.name, bug.what, len(met(trial, bug.name)) - met_before, _kinds(fresh), bug.seen_as)


def _kinds(violations: Sequence[Violation]) -> Counter[str]:
    return Counter(violation.kind for violation in violations)


def _tidy_up(trial: Trial, events: Sequence[Event]) -> None:
    """Let what the bug left be done before the next bug is planted; what it lost for ever stays lost."""
    trial.service.execute(
        "UPDATE work_index SET due_at = clock_timestamp() WHERE due_at = 'infinity' AND finished_at IS NULL"
    )
    trial.wait_for_ends([event.id for event in events], within=10.0)
