"""What people ask: lists, counts, and everything about one orchestration. Set-based, indexed, and read only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql.database import Connection, Database, Row
from app.adapters.postgresql.histories import read_contents
from app.data_plane.ports import Queue
from app.data_plane.replay.record import Record, StoredLink, named_contents, read_chain, run_ids
from app.kernel.facts import AnyFact

WAITS_FOR_PEOPLE = frozenset({"in_review", "awaiting_approval"})
"""States in which nothing more happens by itself before somebody answers, or the wait expires."""
BATCH = 64
"""Orchestrations that are read at once."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One orchestration in a list; the decision's digest is empty until there is one."""

    orchestration_id: str
    tenant_id: str
    workflow: str
    event_type: str
    source: str
    event_id: str
    status: str
    release: str
    channel: str
    traceparent: str | None
    created_at: datetime
    closed_at: datetime | None
    decision_digest: str
    degraded: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orchestrations to list: the newest first, those older than ``before`` (a row seen last)."""

    state: str | None = None
    workflow: str | None = None
    limit: int = 20
    before: RunRow | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """One orchestration with everything that is recorded of it."""

    row: RunRow
    record: Record


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are, by state."""

    events: dict[str, int]
    orchestrations: dict[str, int]
    actions: dict[str, int]
    decisions: int

    @property
    def open_orchestrations(self) -> int:
        """Those that are not closed."""
        closed = ("completed", "failed", "dead_lettered", "cancelled")
        return sum(count for state, count in self.orchestrations.items() if state not in closed)

    @property
    def waiting_for_people(self) -> int:
        """Those of them that go on when somebody answers."""
        return sum(self.orchestrations.get(state, 0) for state in WAITS_FOR_PEOPLE)

    @property
    def under_way(self) -> int:
        """What goes on by itself: orchestrations that wait for nobody, and actions on the way to their targets."""
        sending = sum(self.actions.get(state, 0) for state in ("authorised", "sending"))
        return (
            self.open_orchestrations - self.waiting_for_people + (sending if self.waiting_for_people else 0)
        )


_COLUMNS = (
    "o.orchestration_id, o.tenant_id, o.workflow, o.event_type, o.source, o.event_id, o.status, o.release,"
    " o.channel, o.traceparent, o.created_at, o.closed_at, coalesce(d.decision_digest, ''),"
    " coalesce(d.degraded, false)"
)
_FROM = " FROM orchestrations o LEFT JOIN decisions d USING (orchestration_id)"


class Reading:
    """The reading side, for command line and API.

    Args:
        database: under the role ``interlock_api``.
        tenants: whose rows are seen; none means all published tenants.
    """

    def __init__(self, database: Database, tenants: Sequence[str] = ()) -> None:
        self._database = database
        self._chosen = tuple(tenants)

    def tenants(self) -> tuple[str, ...]:
        """Whose rows are seen."""
        if self._chosen:
            return self._chosen
        with self._database.transaction() as connection:
            return tuple(row[0] for row in connection.execute("SELECT tenant_id FROM tenants ORDER BY 1"))

    def runs(self, wanted: Wanted) -> tuple[RunRow, ...]:
        """One page of orchestrations, the newest first."""
        tenants = self.tenants()
        if not tenants:
            return ()
        conditions, values = ["o.tenant_id = ANY(%s::text[])"], [list(tenants)]
        chosen: list[object] = list(values)
        for column, value in (("o.status", wanted.state), ("o.workflow", wanted.workflow)):
            if value is not None:
                conditions.append(f"{column} = %s")
                chosen.append(value)
        if wanted.before is not None:
            conditions.append("(o.created_at, o.orchestration_id) < (%s, %s)")
            chosen += [wanted.before.created_at, wanted.before.orchestration_id]
        order = " ORDER BY o.created_at DESC, o.orchestration_id DESC LIMIT %s"
        query = f"SELECT {_COLUMNS}{_FROM} WHERE {' AND '.join(conditions)}{order}"
        with self._database.transaction(tenants) as connection:
            return tuple(_run_row(row) for row in connection.execute(query, [*chosen, wanted.limit]))

    def named(self, beginning: str, *, limit: int = 3) -> tuple[str, ...]:
        """The ids that begin so, up to ``limit``."""
        tenants = self.tenants()
        if not tenants:
            return ()
        with self._database.transaction(tenants) as connection:
            # An id goes on in hexadecimal, so that 'z' is behind each of them in every collation.
            found = connection.execute(
                "SELECT orchestration_id FROM orchestrations WHERE orchestration_id >= %s"
                " AND orchestration_id <= %s || 'z' AND starts_with(orchestration_id, %s) LIMIT %s",
                [beginning, beginning, beginning, limit],
            )
            return tuple(sorted(row[0] for row in found))

    def views(self, orchestration_ids: Sequence[str]) -> dict[str, RunView]:
        """Orchestrations with everything that is recorded of them, by id."""
        tenants = self.tenants()
        if not tenants or not orchestration_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            return _views(connection, orchestration_ids)

    def all_views(self) -> Iterator[RunView]:
        """Every orchestration with everything, in the order of ids, a batch at a time."""
        last = ""
        tenants = self.tenants()
        while tenants:
            with self._database.transaction(tenants) as connection:
                found = connection.execute(
                    "SELECT orchestration_id FROM orchestrations WHERE orchestration_id > %s"
                    " ORDER BY orchestration_id LIMIT %s",
                    [last, BATCH],
                )
                ids = [row[0] for row in found]
                views = _views(connection, ids)
            if not ids:
                return
            last = ids[-1]
            yield from (views[key] for key in ids)

    def counts(self) -> Counts:
        """How many events, orchestrations, actions (by state) and decisions there are."""
        tenants = self.tenants()
        if not tenants:
            return Counts({}, {}, {}, 0)
        with self._database.transaction(tenants) as connection:
            found = connection.execute(
                "SELECT 'events', state, count(*) FROM events GROUP BY state"
                " UNION ALL SELECT 'orchestrations', status, count(*) FROM orchestrations GROUP BY status"
                " UNION ALL SELECT 'actions', state, count(*) FROM actions GROUP BY state"
                " UNION ALL SELECT 'decisions', '', count(*) FROM decisions ORDER BY 1, 2"
            )
            counted: defaultdict[str, dict[str, int]] = defaultdict(dict)
            for kind, state, count in found:
                counted[kind][state] = count
        return Counts(
            counted["events"], counted["orchestrations"], counted["actions"], counted["decisions"].get("", 0)
        )

    def states(self, orchestration_ids: Sequence[str]) -> dict[str, str]:
        """The states of these orchestrations, as far as they are there."""
        tenants = self.tenants()
        if not tenants or not orchestration_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            found = connection.execute(
                "SELECT orchestration_id, status FROM orchestrations WHERE orchestration_id = ANY(%s::text[])",
                [list(orchestration_ids)],
            )
            return {row[0]: row[1] for row in found}

    def open_steps(self, orchestration_id: str) -> tuple[str, ...]:
        """The steps of an orchestration that are not finished.

        A replay of it is none of them: its step ends together with its row in the register, or the row would stay
        requested for ever.
        """
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT step_id FROM work_index WHERE orchestration_id = %s AND finished_at IS NULL"
                " AND queue <> %s ORDER BY step_id",
                [orchestration_id, Queue.REPLAY.value],
            )
            return tuple(row[0] for row in found)

    def routed_releases(self) -> dict[str, str]:
        """By workflow: the release that takes its traffic."""
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT workflow, release_digest FROM channels WHERE channel = 'stable' ORDER BY workflow"
            )
            return {row[0]: row[1] for row in found}


def _run_row(row: Row) -> RunRow:
    return RunRow(*row)


def _views(connection: Connection, ids: Sequence[str]) -> dict[str, RunView]:
    """Five queries, however many orchestrations."""
    if not ids:
        return {}
    heads = connection.execute(
        f"SELECT {_COLUMNS}, o.head_seq, o.head_hash{_FROM} WHERE o.orchestration_id = ANY(%s::text[])",
        [list(ids)],
        binary=True,
    ).fetchall()
    chains = _links(connection, ids)
    facts = {key: _readable(links) for key, links in chains.items()}
    members = {key: list(run_ids(key, known)) for key, known in facts.items()}
    runs = _links(connection, [run for listed in members.values() for run in listed])
    digests = set().union(*(named_contents(known) for known in facts.values()))
    digests |= set().union(*(named_contents(_readable(links)) for links in runs.values()))
    contents = read_contents(connection, sorted(digests)) if digests else {}
    views: dict[str, RunView] = {}
    for *cells, head_seq, head_hash in heads:
        row = RunRow(*cells)
        key = row.orchestration_id
        own = {run: runs[run] for run in members.get(key, ()) if run in runs}
        known = facts.get(key, ()) + tuple(fact for links in own.values() for fact in _readable(links))
        views[key] = RunView(
            row,
            Record(
                orchestration_id=key,
                tenant_id=row.tenant_id,
                release=row.release,
                head_seq=head_seq,
                head_hash=head_hash,
                chain=chains.get(key, ()),
                runs=own,
                contents={name: contents[name] for name in named_contents(known) if name in contents},
            ),
        )
    return views


def _links(connection: Connection, chain_ids: Sequence[str]) -> dict[str, tuple[StoredLink, ...]]:
    found = connection.execute(
        "SELECT chain_id, body, hash FROM journal WHERE chain_id = ANY(%s::text[]) ORDER BY chain_id, seq",
        [list(chain_ids)],
        binary=True,
    )
    chains: defaultdict[str, list[StoredLink]] = defaultdict(list)
    for chain_id, body, digest in found:
        chains[chain_id].append(StoredLink(body, digest))
    return {chain_id: tuple(links) for chain_id, links in chains.items()}


def _readable(links: Sequence[StoredLink]) -> tuple[AnyFact, ...]:
    """The facts that can be read, to know what else to fetch."""
    return tuple(recorded.fact for recorded in read_chain(links))
