"""The truth, in memory: ``Store`` for tests, and for reading what the contract asks for without SQL.

One lock stands for the transactions: each call is all or nothing, and calls never overlap.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from app.adapters.memory.budgets import MemoryBudgets
from app.data_plane.dead_letters.from_facts import CONCERNED, Changes, Owner
from app.data_plane.dead_letters.letters import DeadLetterRow, repeated
from app.data_plane.ingestion.beginning import first_fact, first_step
from app.data_plane.ports import (
    ALONE_AFTER,
    Acceptance,
    AcceptedEvent,
    Append,
    Change,
    Claim,
    Committed,
    History,
    NewStep,
    Outcome,
    Queue,
    Route,
    StepOwner,
    Verdict,
)
from app.data_plane.replay.register import Beginning
from app.kernel.clock import Clock, SystemClock, to_text
from app.kernel.facts import (
    AnyFact,
    OrchestrationClosed,
    OrchestrationResumed,
    Recorded,
    chain_hash,
    decode,
    encode,
)
from interlock.canonical import digest_bytes

OVERDUE_AT_MOST = 1000


@dataclass(slots=True)
class _Step:
    new: NewStep
    due_at: float
    """When it may next be claimed; a claim moves it to the end of its lease."""
    open_members: int
    fence: int = 0
    attempts: int = 0
    lapses: int = 0
    leased_by: str | None = None
    finished: bool = False

    @property
    def alone(self) -> bool:
        """Whether it came to nothing so often that it is claimed alone."""
        return self.lapses + (self.leased_by is not None) >= ALONE_AFTER


@dataclass(slots=True)
class _Chain:
    tenant_id: str
    bodies: list[bytes] = field(default_factory=list)
    hash: bytes = b""


@dataclass(slots=True)
class _Orchestration:
    event: AcceptedEvent
    route: Route
    status: str = "running"
    closed: bool = False


class MemoryStore:
    """``Store`` and ``DeadLetters`` for as long as the process lives.

    Args:
        seconds: what leases are measured by; any clock that does not go back.
    """

    def __init__(self, clock: Clock | None = None, seconds: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock or SystemClock()
        self._seconds = seconds
        self._lock = threading.RLock()
        self._events: dict[tuple[str, str, str], AcceptedEvent] = {}
        self._orchestrations: dict[str, _Orchestration] = {}
        self._chains: dict[str, _Chain] = {}
        self._contents: dict[tuple[str, str], bytes] = {}
        self._steps: dict[str, _Step] = {}
        self._letters: dict[str, DeadLetterRow] = {}
        self.budgets = MemoryBudgets(self._lives)

    def accept(self, events: Sequence[AcceptedEvent]) -> list[Acceptance]:
        """Record events, their orchestrations and first facts in one commit; answers in the events' order."""
        with self._lock:
            return [self._accept(event) for event in events]

    def claim(
        self,
        queue: Queue,
        *,
        limit: int,
        worker: str,
        step_ids: Sequence[str] = (),
        orchestration_ids: Sequence[str] = (),
    ) -> list[Claim]:
        """Lease due steps, fairly by tenant; with ids, only those of them that are due."""
        with self._lock:
            due = self._due(queue)
            if step_ids:
                due = [step for step in due if step.new.step_id in step_ids and not step.alone]
            elif orchestration_ids:
                due = [
                    step for step in due if step.new.orchestration_id in orchestration_ids and not step.alone
                ]
            fair = _fairly(due)
            chosen = fair[:1] if fair and fair[0].alone else [step for step in fair if not step.alone]
            return [self._lease(step, worker) for step in chosen[:limit]]

    def give_back(self, worker: str, *, in_seconds: float, lapsed: bool) -> int:
        """End the leases that ``worker`` still holds: due again in so many seconds; returns how many there were."""
        with self._lock:
            held = [one for one in self._steps.values() if one.leased_by == worker and not one.finished]
            for step in held:
                step.due_at = self._seconds() + in_seconds
                step.leased_by = None
                step.fence += 1
                step.lapses += lapsed
            return len(held)

    def end_lost_leases(self) -> int:
        """Nobody is gone here: whoever holds a lease lives in this process."""
        return 0

    def histories(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, History]:
        """The recorded histories, by orchestration id."""
        with self._lock:
            found: dict[str, History] = {}
            for key in orchestration_ids:
                one = self._orchestrations.get(key)
                if one is not None and one.event.tenant_id in tenants:
                    facts = self._facts(key)
                    route = one.route
                    found[key] = History(
                        key, one.event.tenant_id, route.release, route.traceparent, facts, len(facts)
                    )
            return found

    def run_chains(
        self, tenants: Sequence[str], run_ids: Sequence[str]
    ) -> dict[str, tuple[Recorded, ...] | None]:
        """The facts of runs, by run id: a run without facts is absent, None is what a newer version wrote."""
        with self._lock:
            return {key: self._facts(key) for key in run_ids if self._is_visible(tenants, key)}

    def chain_hashes(self, tenants: Sequence[str], chain_ids: Sequence[str]) -> dict[str, str]:
        """The hash of each chain's last fact."""
        with self._lock:
            return {key: self._chains[key].hash.hex() for key in chain_ids if self._is_visible(tenants, key)}

    def contents(self, tenants: Sequence[str], digests: Sequence[str]) -> dict[str, bytes]:
        """Payloads by digest. What is absent is absent from the answer."""
        with self._lock:
            return {
                digest: body
                for (tenant, digest), body in self._contents.items()
                if tenant in tenants and digest in digests
            }

    def commit(self, changes: Sequence[Change]) -> Committed:
        """Record a batch of changes in one commit, each behind its chain's head and under its fence."""
        with self._lock:
            verdicts: list[Verdict] = []
            ready: dict[str, Queue] = {}
            for change in changes:
                self.budgets.settle((), change.settlements)
                verdict = self._judge(change)
                if verdict is Verdict.RECORDED:
                    self._record(change, ready)
                verdicts.append(verdict)
            return Committed(tuple(verdicts), tuple(ready.items()))

    def overdue(self) -> dict[Queue, int]:
        """How many steps are due and unclaimed, by queue (counted up to 1,000 each)."""
        with self._lock:
            counts = {queue: min(len(self._due(queue)), OVERDUE_AT_MOST) for queue in Queue}
            return {queue: count for queue, count in counts.items() if count}

    def owners(self, names: Collection[str]) -> dict[str, StepOwner]:
        """Whose these steps and orchestrations are, by name; what the work index does not know is absent."""
        with self._lock:
            found: dict[str, StepOwner] = {}
            for step in self._steps.values():
                owner = self._owner(step.new.orchestration_id)
                for name, key in ((step.new.step_id, step.new.step_id), (owner.orchestration_id, "")):
                    if name in names:
                        found[name] = StepOwner(
                            owner.tenant_id, owner.orchestration_id, owner.event_id, owner.workflow, key
                        )
            return found

    def report(self, rows: Sequence[DeadLetterRow]) -> None:
        """Record rows in one commit, no two with the same id; one that is there is repeated and opened again."""
        with self._lock:
            for row in rows:
                before = self._letters.get(row.dead_letter_id)
                self._letters[row.dead_letter_id] = row if before is None else repeated(before, row)

    def dead_letters(
        self, tenants: Sequence[str], orchestration_ids: Sequence[str]
    ) -> tuple[DeadLetterRow, ...]:
        """The dead letters of these orchestrations, the oldest first."""
        with self._lock:
            found = [
                row
                for row in self._letters.values()
                if row.tenant_id in tenants and row.orchestration_id in orchestration_ids
            ]
            return tuple(sorted(found, key=lambda row: (row.first_at, row.dead_letter_id)))

    def _owner(self, orchestration_id: str) -> Owner:
        one = self._orchestrations[orchestration_id]
        return Owner(one.event.tenant_id, one.event.event_id, orchestration_id, one.route.workflow)

    def _bury(self, append: Append) -> None:
        """What facts just appended change of the dead letters."""
        if any(type(fact) in CONCERNED for fact in append.facts):
            changes = Changes(self._letters)
            for recorded in self._facts(append.chain_id)[append.expected_seq :]:
                changes.add(self._owner(append.chain_id), recorded)

    def _accept(self, event: AcceptedEvent) -> Acceptance:
        key = (event.tenant_id, event.source, event.event_id)
        known = key in self._events
        first = self._events.setdefault(key, event)
        ids = tuple(route.orchestration_id for route in first.routes)
        if known:
            same = (first.type, first.data_digest) == (event.type, event.data_digest)
            return Acceptance(Outcome.DUPLICATE, ids) if same else Acceptance(Outcome.CONFLICT, ())
        for body in (event.raw, event.normalised):
            self._contents[event.tenant_id, digest_bytes(body)] = body
        for route in event.routes:
            one = route.orchestration_id
            self._orchestrations[one] = _Orchestration(event, route)
            self._append(event.tenant_id, Append(one, 0, (first_fact(event, route),)))
            self._add_step(first_step(event, route))
        return Acceptance(Outcome.ACCEPTED if ids else Outcome.UNROUTED, ids)

    def _due(self, queue: Queue) -> list[_Step]:
        now = self._seconds()
        due = [
            step
            for step in self._steps.values()
            if step.new.queue is queue and not step.finished and step.due_at <= now
        ]
        return sorted(due, key=lambda step: step.due_at)

    def _lease(self, step: _Step, worker: str) -> Claim:
        step.fence += 1
        step.attempts += 1
        step.lapses += step.leased_by is not None
        step.leased_by = worker
        step.due_at = self._seconds() + step.new.lease_seconds
        return Claim(
            step_id=step.new.step_id,
            tenant_id=step.new.tenant_id,
            orchestration_id=step.new.orchestration_id,
            queue=step.new.queue,
            stage=step.new.stage,
            subject=step.new.subject,
            parent_id=step.new.parent_id,
            fence=step.fence,
            attempt=step.attempts,
            lapses=step.lapses,
            lease_seconds=step.new.lease_seconds,
        )

    def _lives(self, step_id: str, fence: int) -> bool:
        step = self._steps.get(step_id)
        if step is None or step.finished:
            return False
        return step.fence == fence and step.due_at > self._seconds()

    def _judge(self, change: Change) -> Verdict:
        if change.claim is not None:
            step = self._steps.get(change.claim.step_id)
            if step is None or step.finished or step.fence != change.claim.fence:
                return Verdict.FENCED
        for append in (change.orchestration, change.run):
            if (
                append is not None
                and len(self._chain(change.tenant_id, append).bodies) != append.expected_seq
            ):
                return Verdict.MOVED
        return Verdict.RECORDED

    def _record(self, change: Change, ready: dict[str, Queue]) -> None:
        for append in (change.orchestration, change.run):
            if append is not None:
                self._append(change.tenant_id, append)
        if change.orchestration is not None:
            self._bury(change.orchestration)
        for digest, body in change.contents.items():
            self._contents[change.tenant_id, digest] = body
        if change.begins is not None:
            self._begin(change.tenant_id, self._orchestrations[change.orchestration_id].event, change.begins)
        for new in change.new_steps:
            self._add_step(new)
        for reopened in change.reopen:
            self._reopen(reopened)
        self._show(change)
        for step_id in change.withdraw:
            if (step := self._steps.get(step_id)) is not None:
                step.finished = True
        if change.claim is not None:
            self._settle(change, change.claim, ready)
        for step_id in change.wake:
            step = self._steps.get(step_id)
            if step is not None and not step.finished and step.due_at == math.inf:
                step.due_at = self._seconds()

    def _show(self, change: Change) -> None:
        one = self._orchestrations.get(change.orchestration_id)
        if one is None:
            return
        if not one.closed and (change.status == "waiting_for_release" or change.orchestration is not None):
            one.status = change.status
        for fact in change.orchestration.facts if change.orchestration is not None else ():
            if isinstance(fact, OrchestrationClosed):
                one.status, one.closed = fact.status, True
            elif isinstance(fact, OrchestrationResumed):
                one.status, one.closed = change.status, False

    def _settle(self, change: Change, claim: Claim, ready: dict[str, Queue]) -> None:
        step = self._steps[claim.step_id]
        if change.settle == "keep":
            return
        # From here on the claim is worth nothing, whoever still holds it.
        step.fence += 1
        step.leased_by = None
        if change.settle == "wait":
            step.due_at = math.inf
            return
        if change.settle == "retry":
            step.lapses += change.lapsed
            step.due_at = self._seconds() + change.retry_in_seconds
            step.attempts -= change.status == "waiting_for_release"
            return
        step.finished = True
        parent = self._steps.get(claim.parent_id or "")
        if parent is None or parent.finished:
            return
        parent.open_members -= 1
        if parent.open_members <= 0:
            parent.due_at = self._seconds()
            ready[parent.new.step_id] = parent.new.queue

    def _append(self, tenant_id: str, append: Append) -> None:
        chain = self._chain(tenant_id, append)
        for fact in append.facts:
            self._link(append.chain_id, chain, fact)

    def _link(self, chain_id: str, chain: _Chain, fact: AnyFact) -> None:
        body = encode(chain_id, len(chain.bodies), to_text(self._clock.now()), fact)
        chain.bodies.append(body)
        chain.hash = chain_hash(chain.hash, body)

    def _chain(self, tenant_id: str, append: Append) -> _Chain:
        return self._chains.setdefault(append.chain_id, _Chain(tenant_id))

    def _add_step(self, step: NewStep) -> None:
        due_at = math.inf if step.open_members else self._seconds() + step.due_in_seconds
        self._steps.setdefault(step.step_id, _Step(replace(step), due_at, step.open_members))

    def _reopen(self, step: NewStep) -> None:
        fence = self._steps[step.step_id].fence + 1 if step.step_id in self._steps else 0
        self._steps.pop(step.step_id, None)
        self._add_step(step)
        self._steps[step.step_id].fence = fence

    def _begin(self, tenant_id: str, event: AcceptedEvent, beginning: Beginning) -> None:
        key, started = beginning.orchestration_id, beginning.started
        route = Route(
            key,
            started.workflow,
            started.release,
            started.channel,
            started.lane,
            started.ordinal,
            beginning.traceparent,
        )
        self._orchestrations[key] = _Orchestration(event, route)
        self._append(tenant_id, Append(key, 0, (started,)))

    def _facts(self, chain_id: str) -> tuple[Recorded, ...]:
        return tuple(decode(body) for body in self._chains[chain_id].bodies)

    def _is_visible(self, tenants: Sequence[str], chain_id: str) -> bool:
        chain = self._chains.get(chain_id)
        return chain is not None and bool(chain.bodies) and chain.tenant_id in tenants


def _fairly(due: Iterable[_Step]) -> list[_Step]:
    """Every tenant's first, then every tenant's second: a small tenant does not wait behind a large one's backlog."""
    turns: dict[str, int] = {}
    ordered: list[tuple[int, float, _Step]] = []
    for step in due:
        turn = turns[step.new.tenant_id] = turns.get(step.new.tenant_id, 0) + 1
        ordered.append((turn, step.due_at, step))
    return [step for _, _, step in sorted(ordered, key=lambda entry: entry[:2])]
