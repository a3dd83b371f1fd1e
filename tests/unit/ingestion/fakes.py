"""What ingestion needs of the outside world, in memory, each a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from app.data_plane.ingestion.accept import IngestionService
from app.data_plane.ports import (
    Acceptance,
    AcceptedEvent,
    Carrier,
    FrontLock,
    Held,
    Outcome,
    Queue,
    Releases,
    Store,
    Subscription,
)
from app.kernel.errors import TransientError
from interlock.canonical import digest
from interlock.envelope import Envelope


def release(workflow: str, *types: str) -> Subscription:
    """A release that subscribes to these types."""
    return Subscription(workflow, "stable", digest([workflow, *types]), types)


@dataclass
class FakeStore:
    """Remembers events by (tenant, source, id), as the real one's unique key does."""

    events: dict[tuple[str, str, str], AcceptedEvent] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    down: bool = False

    def accept(self, events: Sequence[AcceptedEvent]) -> list[Acceptance]:
        """See ``Store.accept``."""
        if self.down:
            raise TransientError("The database does not answer.", "Start it, or correct its address.")
        self.batches.append(len(events))
        return [self._accept(event) for event in events]

    def _accept(self, event: AcceptedEvent) -> Acceptance:
        first = self.events.setdefault((event.tenant_id, event.source, event.event_id), event)
        ids = tuple(route.orchestration_id for route in first.routes)
        if first is event:
            return Acceptance(Outcome.ACCEPTED if ids else Outcome.UNROUTED, ids)
        same = (first.type, first.data_digest) == (event.type, event.data_digest)
        return Acceptance(Outcome.DUPLICATE, ids) if same else Acceptance(Outcome.CONFLICT, ())


@dataclass
class FakeCarrier:
    """Counts the rings."""

    rung: list[Queue] = field(default_factory=list)
    broken: bool = False

    def ring(self, queue: Queue) -> None:
        """See ``Carrier.ring``."""
        if self.broken:
            raise TransientError("The broker does not answer.")
        self.rung.append(queue)


@dataclass
class FakeLock:
    """Knows who holds which name."""

    taken: set[str] = field(default_factory=set)
    broken: bool = False

    def acquire(self, names: Sequence[str], seconds: float) -> Held:
        """See ``FrontLock.acquire``."""
        if self.broken:
            raise TransientError("Redis does not answer.")
        free = tuple(name for name in names if name not in self.taken)
        self.taken.update(free)
        return Held(free, "token")

    def release(self, held: Held) -> None:
        """See ``FrontLock.release``."""
        self.taken.difference_update(held.names)


@dataclass
class FakeReleases:
    """The releases that take events now."""

    table: tuple[Subscription, ...] = (
        release("issue-triage", "com.github.issues.*", "dev.interlock.issue"),
        release("audit", "dev.interlock.*"),
    )

    def routes(self) -> tuple[Subscription, ...]:
        """See ``Releases.routes``."""
        return self.table


@dataclass
class Ingestion:
    """The real service over fakes."""

    store: FakeStore = field(default_factory=FakeStore)
    carrier: FakeCarrier = field(default_factory=FakeCarrier)
    lock: FakeLock = field(default_factory=FakeLock)
    releases: FakeReleases = field(default_factory=FakeReleases)

    @property
    def service(self) -> IngestionService:
        """The service under test."""
        return IngestionService(
            cast(Store, self.store),
            cast(Releases, self.releases),
            cast(Carrier, self.carrier),
            cast(FrontLock, self.lock),
        )


def issue(event_id: str = "1", tenant: str = "demo", title: str = "It broke") -> Envelope:
    """An event of our own type that two workflows subscribe to."""
    return Envelope(
        id=event_id,
        source="/host",
        type="dev.interlock.issue",
        tenantid=tenant,
        dataschema="urn:interlock:schema:issue:2",
        data={"title": title},
    )
