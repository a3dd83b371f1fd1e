"""Dead-lettered orchestrations in a real database, and everything that repairs them, without brokers and processes.

The targets are in memory and count what they are sent; time can be put forward.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import psycopg

from app.adapters.memory.breakers import MemoryBreakers
from app.adapters.postgresql.budgets import PostgresqlBudgets
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.lookups import PostgresqlLookups, TenantReadings
from app.adapters.postgresql.replays import PostgresqlReplays
from app.adapters.postgresql.store import PostgresqlStore
from app.adapters.providers.open import PooledProviders
from app.adapters.secrets import ReferencedSecrets
from app.data_plane.agent_runs.asking import Asker
from app.data_plane.agent_runs.calling import ToolCaller
from app.data_plane.agent_runs.execute import Runner
from app.data_plane.agent_runs.purse import Purse
from app.data_plane.agent_runs.question import Questioner
from app.data_plane.aggregation.aggregate import Aggregator
from app.data_plane.budgets.reservations import Account
from app.data_plane.dispatch.deliver import Dispatcher
from app.data_plane.orchestration.advance import Advancer
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.orchestration.state import initial
from app.data_plane.ports import (
    Append,
    Change,
    Delivery,
    Probe,
    ProbeAnswer,
    Queue,
    Receipt,
    StageCanvas,
    Subscription,
    Targets,
)
from app.data_plane.replay.execute import Replayer
from app.data_plane.replay.register import ReplayRow
from app.data_plane.replay.request import Person, ReplayDesk, Requested, Subject, Way
from app.kernel.errors import InterlockError, NotFoundError
from app.kernel.facts import AnyFact
from app.kernel.release import Release
from interlock.canonical import canonical_bytes
from interlock.identity import advance_id
from tests.accepted_events import accepted_event, orchestration_of
from tests.branching_workflow import Example

ALICE = Person("alice", "the target was repaired")
Life = Callable[[Example], object]
"""What happens to a decided orchestration before it is looked at."""


class Ahead:
    """The machine's time, put forward by ``by``."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def now(self) -> datetime:
        """See ``Clock``."""
        return datetime.now(UTC) + self.by


class NoTenantBudgets:
    """Tenants that nothing limits."""

    def account(self, tenant_id: str) -> Account | None:
        """See ``TenantAccounts``."""
        return None


@dataclass
class Rings:
    """A carrier that carries nothing, and counts the rings."""

    rung: list[Queue] = field(default_factory=list)

    def ring(self, queue: Queue) -> None:
        """See ``Carrier``."""
        self.rung.append(queue)

    def publish(self, canvas: StageCanvas) -> None:
        """See ``Carrier``."""


@dataclass
class Counting:
    """Targets that take everything, and count by key what they were sent."""

    sent: Counter[str] = field(default_factory=Counter)

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """See ``Targets``."""
        self.sent.update(delivery.idempotency_key for delivery in deliveries)
        return [Receipt("confirmed", 201) for _ in deliveries]

    async def probe(self, probes: Sequence[Probe]) -> list[ProbeAnswer]:
        """See ``Targets``."""
        raise AssertionError("nobody asks")


class Published:
    """Releases in memory, the first of them routed."""

    def __init__(self, *releases: Release) -> None:
        self._releases = {release.digest: release for release in releases}

    def get(self, digest: str) -> Release:
        """See ``Releases``."""
        if digest not in self._releases:
            raise NotFoundError(f"no {digest}")
        return self._releases[digest]

    def routes(self) -> tuple[Subscription, ...]:
        """See ``Releases``."""
        first = next(iter(self._releases.values()))
        return (Subscription(first.workflow, "stable", first.digest, ()),)


class Workshop:
    """One process's view of the database: its own connections, the desk, and the workers' services."""

    def __init__(self, url: str, *releases: Release, clock: Ahead | None = None) -> None:
        self.url = url
        self.clock = clock or Ahead()
        self.targets = Counting()
        self.carrier = Rings()
        self.release = releases[0]
        self._databases = Database(url, "interlock_worker"), Database(url, "interlock_api")
        worker, api = self._databases
        self.database = api
        published = Published(*releases)
        self.store = PostgresqlStore(worker, self.clock)
        self.recorder = Recorder(self.store, published, self.carrier)
        self.replays = PostgresqlReplays(api)
        self.desk = ReplayDesk(
            PostgresqlStore(api, self.clock), self.recorder, self.replays, published, self.carrier, self.clock
        )
        self.replayer = Replayer(
            self.store, self.recorder, PostgresqlReplays(worker), self.carrier, self.clock, batch_size=64
        )
        self._dispatcher = Dispatcher(
            self.store,
            self.recorder,
            cast(Targets, self.targets),
            self.carrier,
            self.clock,
            batch_size=64,
        )

        self.advancer = Advancer(
            self.store, self.recorder, PostgresqlLookups(worker), self.carrier, batch_size=64
        )
        providers = PooledProviders(ReferencedSecrets({}, Path()))
        purse = Purse(PostgresqlBudgets(worker), NoTenantBudgets())
        asker = Asker(Questioner(providers, MemoryBreakers(), purse, self.clock))
        self.runner = Runner(
            self.store,
            self.recorder,
            asker,
            ToolCaller(TenantReadings(worker), purse),
            self.carrier,
            self.clock,
            batch_size=64,
            in_flight=64,
        )
        self.aggregator = Aggregator(self.store, self.recorder, self.carrier, batch_size=64)

    def close(self) -> None:
        """Give back the connections."""
        for database in self._databases:
            database.close()

    def publish(self, *releases: Release) -> None:
        """Put the releases' rows where a name is looked for, and the tenant where readers look for it."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO tenants (tenant_id, version, digest, document) VALUES ('demo', 1, '', '{}')"
                " ON CONFLICT DO NOTHING"
            )
            for release in releases:
                body = canonical_bytes(release.model_dump(mode="json"))
                connection.execute(
                    "INSERT INTO releases (digest, workflow, body, published_by) VALUES (%s, %s, %s, 'test')"
                    " ON CONFLICT DO NOTHING",
                    [release.digest, release.workflow, body],
                )

    def lives(self, event_id: str, life: Life) -> Subject:
        """An orchestration whose decision was made, and then ``life`` happened."""
        subject = self.accept(event_id)
        key = subject.orchestration_id
        example = Example(self.release)
        example.state = initial(key, "demo", self.release)
        example.contents.add_bytes(accepted_event(event_id, title="high").normalised)
        (first,) = self.store.histories(["demo"], [key])[key].facts
        example.happen(first.fact)
        example.decide_with("high")
        life(example)
        change = Change(
            "demo",
            key,
            orchestration=Append(key, 1, tuple(example.facts[1:])),
            contents=example.contents.added,
            withdraw=(advance_id(key),),
        )
        self.store.commit([change])
        return subject

    def ask(
        self, subject: Subject, way: Way | None = None, person: Person = ALICE
    ) -> Requested | InterlockError:
        """Have one orchestration replayed."""
        return self.desk.request([subject], way or Way("resume"), person)[0]

    def row(self, asked: Requested | InterlockError) -> ReplayRow:
        """What the register says of it."""
        assert isinstance(asked, Requested), asked
        return self.replays.named(["demo"], [asked.replay_id])[asked.replay_id]

    def deliver(self) -> Counter[str]:
        """Deliver whatever is due; what the targets were sent so far, by key."""
        asyncio.run(self._dispatcher.deliver("dispatcher"))
        return self.targets.sent

    def accept(self, event_id: str, title: str = "high") -> Subject:
        """An event that was accepted, and nothing more."""
        event = accepted_event(event_id, title=title, release=self.release.digest)
        self.store.accept([event])
        return Subject("demo", orchestration_of(event))

    def run_agents(self, *run_ids: str) -> None:
        """Execute these runs, or whatever is due."""
        asyncio.run(self.runner.execute("runner", run_ids))

    def carry_on(self) -> None:
        """Let every queue do what is due, until nothing is."""
        while overdue := set(self.store.overdue()) - {Queue.REPLAY}:
            if Queue.ORCHESTRATION in overdue:
                self.advancer.advance("advancer")
            if Queue.AGENT_RUNS in overdue:
                self.run_agents()
            if Queue.AGGREGATION in overdue:
                self.aggregator.aggregate("aggregator")
            if Queue.DISPATCH in overdue:
                self.deliver()

    def facts(self, orchestration_id: str) -> list[AnyFact]:
        """The orchestration's facts."""
        history = self.store.histories(["demo"], [orchestration_id])[orchestration_id]
        return [recorded.fact for recorded in history.facts]

    def end_leases(self) -> None:
        """What is leased or waits is due now, as if whoever has it were gone long ago."""
        self.sql("UPDATE work_index SET due_at = clock_timestamp() WHERE finished_at IS NULL")

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """A statement of the database's owner."""
        with psycopg.connect(self.url) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description is not None else []


@contextmanager
def workshop(url: str, *releases: Release, clock: Ahead | None = None) -> Iterator[Workshop]:
    """One process's view, until the block ends."""
    one = Workshop(url, *releases, clock=clock)
    try:
        yield one
    finally:
        one.close()
