"""What the data plane needs of the outside world, as narrow protocols; adapters implement them.

Everything is set-based: one call carries a batch, one batch is one commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from app.data_plane.budgets.reservations import Settlement
from app.data_plane.dead_letters.letters import DeadLetterRow
from app.data_plane.replay.register import Beginning, ReplayEnd
from app.kernel.facts import AnyFact, Recorded
from app.kernel.release import Channel, Release
from interlock.canonical import JsonObject, JsonValue
from interlock.identity import Lane


class Queue(StrEnum):
    """The queues, which are also the names of the activities."""

    INGESTION = "ingestion"
    ORCHESTRATION = "orchestration"
    AGENT_RUNS = "agent_runs"
    AGGREGATION = "aggregation"
    DISPATCH = "dispatch"
    REPLAY = "replay"
    MAINTENANCE = "maintenance"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """One event, ready to be recorded: its content, its normalised form, and the releases it is routed to."""

    tenant_id: str
    source: str
    event_id: str
    type: str
    data_digest: str
    raw: bytes
    """Canonical bytes of the whole envelope as it came."""
    normalised: bytes
    """Canonical bytes of the normalised event."""
    normaliser: str
    traceparent: str | None
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A release that an event is routed to, and the orchestration that this makes."""

    orchestration_id: str
    workflow: str
    release: str
    channel: Channel
    lane: Lane = "live"
    ordinal: int = 0
    traceparent: str | None = None


class Outcome(StrEnum):
    """What came of one event that was to be accepted."""

    ACCEPTED = "accepted"
    UNROUTED = "unrouted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """The same id was accepted before with another type or other data."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The answer for one event; for a duplicate, the orchestrations of its first acceptance."""

    outcome: Outcome
    orchestration_ids: tuple[str, ...]
    removed: bool = False
    """It was accepted before, and retention has removed its orchestrations since."""


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to be inserted into the work index."""

    step_id: str
    tenant_id: str
    orchestration_id: str
    queue: Queue
    stage: str = ""
    subject: str = ""
    """The agent of a run, the action's id of a delivery."""
    lease_seconds: float = 30.0
    """How long a claim of it holds: longer than its work can take."""
    open_members: int = 0
    """How many members must be final before the step is due; with none it is due at once."""
    parent_id: str | None = None
    """The step that counts this one among its members."""
    due_in_seconds: float = 0.0
    """When it is due, if it waits for no member."""


ALONE_AFTER = 2
"""A step that came to nothing so often is claimed alone from then on."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a step. ``fence`` makes a late writer lose."""

    step_id: str
    tenant_id: str
    orchestration_id: str
    queue: Queue
    stage: str
    subject: str
    parent_id: str | None
    fence: int
    attempt: int
    """Counts the claims of this step."""
    lapses: int = 0
    """How many of them ended without a result: the worker died, was too slow, or met a defect."""
    lease_seconds: float = 30.0
    waited_seconds: float = field(default=0.0, compare=False)
    """From when it was due, on the store's clock."""
    claimed_at: float = field(default=0.0, compare=False)
    """On the clock of this process's durations (``metrics.now``); 0 when nobody measures."""


def may_be_more(claims: Sequence[Claim], most: int) -> bool:
    """Whether more may be due than this claim took: it is full, or of a step that is claimed alone."""
    return len(claims) == most or any(claim.lapses >= ALONE_AFTER for claim in claims)


@dataclass(frozen=True, slots=True)
class History:
    """An orchestration as recorded: its row, its chain of facts, and where the chain's head is."""

    orchestration_id: str
    tenant_id: str
    release: str
    traceparent: str | None
    facts: tuple[Recorded, ...]
    head_seq: int
    """Number of facts in the chain."""
    readable: bool = True
    """False when a newer version of Interlock wrote a fact that this one does not know."""


@dataclass(frozen=True, slots=True)
class Append:
    """Facts to append behind a chain's head, valid only while the head is where it was read."""

    chain_id: str
    expected_seq: int
    facts: tuple[AnyFact, ...]


Settle = Literal["finish", "keep", "retry", "wait"]
"""What becomes of a claimed step: it is done, still held, due again later, or due when another change wakes it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one unit of work wants recorded about one orchestration, all or nothing.

    With a ``claim`` the change counts only while the fence still holds. ``orchestration`` appends to the
    orchestration's chain, ``run`` to a run's own. ``settle`` says what becomes of the claimed step.
    """

    tenant_id: str
    orchestration_id: str
    claim: Claim | None = None
    orchestration: Append | None = None
    run: Append | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """Digest to bytes, for the payload store."""
    new_steps: tuple[NewStep, ...] = ()
    reopen: tuple[NewStep, ...] = ()
    """Steps that are to be done as if they were new, whatever became of them; who holds one now has lost it."""
    begins: Beginning | None = None
    """An orchestration that is started besides; its first step is among the new ones."""
    ends_replay: ReplayEnd | None = None
    settlements: tuple[Settlement, ...] = ()
    """What questions to models did cost. They count whatever becomes of the change: they happened."""
    settle: Settle = "finish"
    retry_in_seconds: float = 0.0
    lapsed: bool = False
    """With ``retry``: this claim came to nothing, and counts towards giving up."""
    withdraw: tuple[str, ...] = ()
    """Open steps that are over without being done, as those of a cancelled orchestration."""
    wake: tuple[str, ...] = ()
    """Steps that were settled with ``wait``, and are due now; others of these are left as they are."""
    status: Literal["running", "waiting_for_release", "in_review", "awaiting_approval"] = "running"
    """What the orchestration is shown as while it is not closed."""


class Verdict(StrEnum):
    """What became of a change."""

    RECORDED = "recorded"
    MOVED = "moved"
    """The chain's head had moved: read again, decide again."""
    FENCED = "fenced"
    """Another worker holds the step now, or it is finished: whatever this one found does not count."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What came of a batch of changes."""

    verdicts: tuple[Verdict, ...]
    """One for each change, in order."""
    ready: tuple[tuple[str, Queue], ...]
    """Steps that became due because their last member is final."""


class Store(Protocol):
    """The truth: events, journals, work index, payload store."""

    def accept(self, events: Sequence[AcceptedEvent]) -> list[Acceptance]:
        """Record events, their orchestrations and first facts in one commit; answers in the events' order."""
        ...

    def claim(
        self,
        queue: Queue,
        *,
        limit: int,
        worker: str,
        step_ids: Sequence[str] = (),
        orchestration_ids: Sequence[str] = (),
    ) -> list[Claim]:
        """Lease due steps, fairly by tenant; with ids, only those of them that are due.

        A step that came to nothing twice is leased alone, and never by its id among others: what ends its worker
        takes no other step with it a third time.
        """
        ...

    def give_back(self, worker: str, *, in_seconds: float, lapsed: bool) -> int:
        """End the leases that ``worker`` still holds: due again in so many seconds; returns how many there were."""
        ...

    def end_lost_leases(self) -> int:
        """Make due what is leased to workers that are gone; returns how many steps that were."""
        ...

    def histories(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, History]:
        """The recorded histories, by orchestration id."""
        ...

    def run_chains(
        self, tenants: Sequence[str], run_ids: Sequence[str]
    ) -> dict[str, tuple[Recorded, ...] | None]:
        """The facts of runs, by run id: a run without facts is absent, None is what a newer version wrote."""
        ...

    def chain_hashes(self, tenants: Sequence[str], chain_ids: Sequence[str]) -> dict[str, str]:
        """The hash of each chain's last fact."""
        ...

    def contents(self, tenants: Sequence[str], digests: Sequence[str]) -> dict[str, bytes]:
        """Payloads by digest. What is absent is absent from the answer."""
        ...

    def commit(self, changes: Sequence[Change]) -> Committed:
        """Record a batch of changes in one commit, each behind its chain's head and under its fence."""
        ...

    def overdue(self) -> dict[Queue, int]:
        """How many steps are due and unclaimed, by queue (counted up to 1,000 each); none while another asks this."""
        ...


@dataclass(frozen=True, slots=True)
class StepOwner:
    """Whose a step is, as the work index says; for an orchestration that was asked about, without a step."""

    tenant_id: str
    orchestration_id: str
    event_id: str
    workflow: str
    step_id: str = ""


class DeadLetters(Protocol):
    """The dead letters that come from messages. Those that come from facts are written with them, by ``commit``."""

    def owners(self, names: Collection[str]) -> dict[str, StepOwner]:
        """Whose these steps and orchestrations are, by name; what the work index does not know is absent."""
        ...

    def report(self, rows: Sequence[DeadLetterRow]) -> None:
        """Record rows in one commit, no two with the same id; one that is there is repeated and opened again."""
        ...

    def dead_letters(
        self, tenants: Sequence[str], orchestration_ids: Sequence[str]
    ) -> tuple[DeadLetterRow, ...]:
        """The dead letters of these orchestrations, the oldest first."""
        ...


class Releases(Protocol):
    """Published releases, as the data plane may read them."""

    def get(self, digest: str) -> Release:
        """The release of that digest. Raises ReleaseUnavailableError."""
        ...

    def routes(self) -> tuple[Subscription, ...]:
        """The workflows that take events now. Needs no release to be loaded: its orchestrations may wait for that."""
        ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """A release that takes events, and of which types (a trailing ``*`` matches any rest)."""

    workflow: str
    channel: Channel
    release: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageCanvas:
    """One canvas over a batch: ``chain(chord(group(runs...), aggregation), dispatch)``, all of ids."""

    release: str
    stage: str
    runs: tuple[tuple[str, str], ...]
    """Each run, and the orchestration that it is of."""
    aggregation_ids: tuple[str, ...]
    orchestration_ids: tuple[str, ...]


class Carrier(Protocol):
    """What carries ids between workers, and may lose them: the work index knows what is due."""

    def ring(self, queue: Queue) -> None:
        """Ring the queue's doorbell; while one is waiting, another is not sent."""
        ...

    def publish(self, canvas: StageCanvas) -> None:
        """Publish one canvas."""
        ...


class FrontLock(Protocol):
    """A lock in front of the truth, to save it contention. Safety never rests on it."""

    def acquire(self, names: Sequence[str], seconds: float) -> Held:
        """Take what is free, in one round trip."""
        ...

    def release(self, held: Held) -> None:
        """Give back what is still ours."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """The names that were free, and the token that shows they are ours."""

    names: tuple[str, ...]
    token: str


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """One read-only question of one tenant."""

    tenant_id: str
    tool: str
    arguments: JsonObject


class Lookups(Protocol):
    """The reading tools."""

    def answer(self, requests: Sequence[LookupRequest]) -> list[JsonValue]:
        """One answer for each request, in order, in as few round trips as there are tools."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt at one action."""

    tenant_id: str
    target: str
    action_id: str
    orchestration_id: str
    event_id: str
    tool: str
    idempotency_key: str
    path: str
    """Below the target's address, as its tool says."""
    headers: Mapping[str, str]
    """What the tool wants beside those of every delivery: how the key travels."""
    body: bytes
    timeout_seconds: float
    attempt: int
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the target answered to one attempt.

    ``outcome``: ``confirmed`` (2xx), ``refused`` (it will never take it), ``retry`` (it said that it did not take it
    and may later, or was never reached), ``unknown`` (sent, and no answer came back, or one that leaves it open).
    """

    outcome: Literal["confirmed", "refused", "retry", "unknown"]
    http_status: int = 0
    body: bytes = b""
    repeated: bool = False
    reason: str = ""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to a target: what became of an action's key."""

    tenant_id: str
    target: str
    action_id: str
    orchestration_id: str
    event_id: str
    idempotency_key: str
    path: str
    """The target's ``probe_path``: ``{key}`` stands for the key."""
    timeout_seconds: float
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What a target said: 200 it was applied, 404 it was not, and everything else leaves it unknown."""

    answer: Literal["applied", "not_applied", "unknown"]
    http_status: int = 0
    body: bytes = b""
    reason: str = ""
    retry_after_seconds: float | None = None


class Targets(Protocol):
    """The writing side: the only way to an effect."""

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """One receipt for each delivery, in order; never raises for what a target did.

        Nothing is sent any more once a delivery's ``timeout_seconds`` have passed since the call.
        """
        ...

    async def probe(self, probes: Sequence[Probe]) -> list[ProbeAnswer]:
        """One answer for each question, in order; asking changes nothing, and never raises for what a target did."""
        ...
