"""What retention asks of the database: the oldest closed orchestrations, everything of them, and its removal.

Heads are locked in the order of their ids, as every writer does, and what somebody else holds is passed over: nobody
waits for retention, and retention waits for nobody. A finished step is never written again, so that an orchestration
whose head is held here and whose steps are all finished is at rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.adapters.postgresql.database import Connection, Database, see_tenants
from app.adapters.postgresql.fact_counts import of_removed
from app.data_plane.audit.chains import JournalRow, follow
from app.data_plane.retention.archive import Kept, Rows, named_digests
from app.data_plane.retention.retention import Chosen, Cut, Place, Reason, Removal, WrittenMeanwhileError
from app.kernel.errors import ConflictError
from app.telemetry import metric_names
from interlock.canonical import JsonObject

_RETAINING = 0x72657461696E696E  # "retainin": the advisory lock of the one retention at work
_SWEEP_SECONDS = 600
"""How long the database may take to find all contents that are old enough."""

PUT_AGAIN_WITHIN = timedelta(days=2)
"""How much older than the orchestration that names it a content's date may be: it is renewed once a day."""

_ROWS = {
    "orchestrations": "orchestration_id",
    "decisions": "orchestration_id",
    "actions": "action_id",
    "work_index": "step_id",
    "dead_letters": "dead_letter_id",
    "replays": "replay_id",
}
"""The tables with rows of an orchestration, and what they are read in the order of."""

_COUNTED_BY_ROWS = {
    of_removed(metric_names.DEAD_LETTERS): "ARRAY[queue, cause], sum(times) FROM dead_letters"
    " WHERE orchestration_id = ANY(%s::text[]) AND message_digest <> '' GROUP BY queue, cause",
    of_removed(metric_names.REPLAYS): "ARRAY[mode, state], count(*) FROM replays"
    " WHERE orchestration_id = ANY(%s::text[]) GROUP BY mode, state",
}

_CANDIDATES = """
SELECT orchestration_id, closed_at FROM orchestrations
WHERE closed_at < %(cut)s AND (closed_at, orchestration_id) > (%(closed_at)s, %(orchestration_id)s)
ORDER BY closed_at, orchestration_id LIMIT %(size)s
"""
_FAMILIES = """
SELECT DISTINCT o.orchestration_id, o.tenant_id, o.source, o.event_id, o.created_at,
    coalesce(o.closed_at < %(cut)s, false)
FROM orchestrations c JOIN orchestrations o USING (tenant_id, source, event_id)
WHERE c.orchestration_id = ANY(%(ids)s::text[])
"""
_LOCK = """
SELECT orchestration_id FROM orchestrations WHERE orchestration_id = ANY(%(ids)s::text[]) AND closed_at < %(cut)s
ORDER BY orchestration_id FOR UPDATE SKIP LOCKED
"""
_OF_THESE = "SELECT DISTINCT orchestration_id FROM {} WHERE orchestration_id = ANY(%s::text[]) AND {}"
_REASONS = {
    Reason.STEP: _OF_THESE.format("work_index", "coalesce(finished_at, 'infinity') = 'infinity'"),
    Reason.REPLAY: _OF_THESE.format("replays", "finished_at IS NULL"),
    Reason.DOUBT: _OF_THESE.format("actions", "state || '' = 'in_doubt'"),
    Reason.DEAD_LETTER: _OF_THESE.format("dead_letters", "state || '' = 'open'"),
}
_COUNT_FACTS = """
SELECT count(*) FROM journal WHERE chain_id = ANY(%(ids)s::text[]) OR chain_id = ANY(ARRAY(
    SELECT step_id FROM work_index WHERE orchestration_id = ANY(%(ids)s::text[]) AND queue = 'agent_runs'))
"""
_FACTS = """
SELECT chain_id, seq, tenant_id, body, hash, written_in FROM journal WHERE chain_id = ANY(%s::text[])
ORDER BY chain_id, seq
"""
_LIMITS = """
SELECT t.tenant_id, least(%(cut)s, coalesce(
    (SELECT o.created_at FROM orchestrations o WHERE o.tenant_id = t.tenant_id {} ORDER BY o.created_at LIMIT 1),
    clock_timestamp()) - %(put_again_within)s) FROM tenants t
"""
_STAYS = "AND coalesce(o.closed_at >= %(cut)s, true)"
_STALE = """
SELECT {} FROM payloads p JOIN unnest(%(tenants)s::text[], %(limits)s::timestamptz[]) AS l (tenant_id, put_before)
    ON p.tenant_id = l.tenant_id AND p.put_at < l.put_before
WHERE p.put_at < %(latest)s
"""
_REMOVE_CONTENTS = """
WITH stale AS MATERIALIZED (
    SELECT p.tenant_id, p.digest
    FROM unnest(%s::text[], %s::bytea[], %s::timestamptz[]) AS s (tenant_id, digest, put_before)
    JOIN payloads p USING (tenant_id, digest)
    WHERE p.put_at + interval '0' < s.put_before
    ORDER BY p.tenant_id, p.digest FOR UPDATE OF p SKIP LOCKED
)
DELETE FROM payloads p USING stale WHERE p.tenant_id = stale.tenant_id AND p.digest = stale.digest
"""


class PostgresqlBatch:
    """``Batch`` over one transaction."""

    def __init__(self, connection: Connection, chosen: Chosen) -> None:
        self._connection = connection
        self.chosen = chosen

    def read(self, orchestration_ids: Sequence[str]) -> list[Kept]:
        """Everything that is kept of them, in their order."""
        rows = self._rows(orchestration_ids)
        facts = self._facts(orchestration_ids)
        contents = self._contents(facts, rows)
        return [_kept(name, rows[name], facts[name], contents) for name in orchestration_ids]

    def remove(self, removed: Removal) -> None:
        """Delete exactly what was archived. Raises WrittenMeanwhileError when there is something else."""
        self._keep_counted(removed.orchestration_ids)
        counts = {
            table: self._connection.execute(
                f"DELETE FROM {table} WHERE orchestration_id = ANY(%s::text[])",  # noqa: S608 - of the names above
                [removed.orchestration_ids],
            ).rowcount
            for table in _ROWS
        }
        facts = self._connection.execute(
            "DELETE FROM journal WHERE chain_id = ANY(%s::text[])", [removed.chain_ids]
        ).rowcount
        self._connection.execute(
            "DELETE FROM spans WHERE orchestration_id = ANY(%s::text[]) AND orchestration_id <> ''",
            [removed.orchestration_ids],
        )
        # What they spent stands in their facts; only tenants' lines outlive them.
        for table, column in (("budget_lines", "account_id"), ("reservations", "step_id")):
            self._connection.execute(
                f"DELETE FROM {table} WHERE {column} = ANY(%s::text[])",  # noqa: S608 - of the names above
                [removed.chain_ids],
            )
        if (facts, counts) != (removed.facts, {table: removed.rows[table] for table in _ROWS}):
            raise WrittenMeanwhileError(
                "Something was recorded of orchestrations that were being removed; nothing of the batch was removed.",
                "Run it again: what was archived is archived once more.",
            )

    def _keep_counted(self, ids: Sequence[str]) -> None:
        """Add what is counted by its rows alone to the sums that stay: a counter does not go back for retention."""
        for metric, of_these in _COUNTED_BY_ROWS.items():
            self._connection.execute(
                f"INSERT INTO fact_counts (metric, labels, value) SELECT %s, {of_these}"
                " ON CONFLICT (metric, labels) DO UPDATE SET value = fact_counts.value + EXCLUDED.value",
                [metric, list(ids)],
            )

    def _rows(self, ids: Sequence[str]) -> Mapping[str, Rows]:
        found: dict[str, dict[str, list[JsonObject]]] = {name: {} for name in ids}
        for table, key in _ROWS.items():
            selected = self._connection.execute(
                f"SELECT orchestration_id, to_jsonb({table}) FROM {table}"  # noqa: S608 - of the names above
                f" WHERE orchestration_id = ANY(%s::text[]) ORDER BY orchestration_id, {key}",
                [list(ids)],
            )
            for name, row in selected:
                found[name].setdefault(table, []).append(row)
        return {
            name: {table: tuple(rows) for table, rows in tables.items()} for name, tables in found.items()
        }

    def _facts(self, ids: Sequence[str]) -> Mapping[str, tuple[JournalRow, ...]]:
        """By orchestration: its own chain and those of its runs, in the order of (chain, seq)."""
        of: dict[str, list[JournalRow]] = {name: [] for name in ids}
        owners: dict[str, str] = {}
        for row in self._connection.execute(_FACTS, [list(ids)], binary=True):
            of[row[0]].append(row)
        for name, rows in of.items():
            for chain in follow(rows):
                owners.update(dict.fromkeys(chain.runs, name))
        steps = self._connection.execute(
            "SELECT step_id, orchestration_id FROM work_index"
            " WHERE orchestration_id = ANY(%s::text[]) AND queue = 'agent_runs'",
            [list(ids)],
        )
        owners.update({row[0]: row[1] for row in steps})
        for row in self._connection.execute(_FACTS, [list(owners)], binary=True):
            of[owners[row[0]]].append(row)
        return {name: tuple(rows) for name, rows in of.items()}

    def _contents(
        self, facts: Mapping[str, Sequence[JournalRow]], rows: Mapping[str, Rows]
    ) -> Mapping[tuple[str, str], bytes]:
        """What these facts and replays name, by tenant and digest."""
        named = {
            (row[2], digest)
            for listed in facts.values()
            for row in listed
            for digest in named_digests(row[3])
        }
        for tables in rows.values():
            for replay in tables.get("replays", ()):
                tenant = str(replay["tenant_id"])
                named |= {(tenant, str(replay[column])) for column in ("reason_digest", "plan_digest")}
        asked = sorted((tenant, bytes.fromhex(digest)) for tenant, digest in named if _is_digest(digest))
        found = self._connection.execute(
            "SELECT p.tenant_id, p.digest, p.body FROM payloads p"
            " JOIN unnest(%s::text[], %s::bytea[]) AS asked (tenant_id, digest) USING (tenant_id, digest)",
            [[tenant for tenant, _ in asked], [digest for _, digest in asked]],
            binary=True,
        )
        return {(row[0], row[1].hex()): row[2] for row in found}


def _kept(
    name: str, rows: Rows, facts: tuple[JournalRow, ...], contents: Mapping[tuple[str, str], bytes]
) -> Kept:
    (own,) = rows["orchestrations"]
    tenant = str(own["tenant_id"])
    named = {digest for row in facts for digest in named_digests(row[3])}
    for replay in rows.get("replays", ()):
        named |= {str(replay["reason_digest"]), str(replay["plan_digest"])}
    return Kept(
        orchestration_id=name,
        tenant_id=tenant,
        head_seq=int(str(own["head_seq"])),
        head_hash=bytes.fromhex(str(own["head_hash"]).removeprefix("\\x")),
        rows=rows,
        facts=facts,
        contents={
            digest: contents[tenant, digest] for digest in sorted(named) if (tenant, digest) in contents
        },
    )


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


class PostgresqlClosed:
    """``Closed`` in PostgreSQL.

    Args:
        database: under the role ``interlock_retention``.
        tenants: whose orchestrations are looked at.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = tuple(tenants)

    def before(self, seconds: float) -> datetime:
        """So many seconds ago, on the database's clock."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT clock_timestamp() - make_interval(secs => %s)", [seconds]
            ).fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment

    def count(self, cut: Cut) -> int:
        """How many candidates there are."""
        with self._database.transaction(self._tenants) as connection:
            row = connection.execute(
                "SELECT count(*) FROM orchestrations WHERE closed_at < %s", [cut.closed_before]
            ).fetchone()
        return int(row[0]) if row is not None else 0

    @contextmanager
    def batch(self, cut: Cut, after: Place | None, size: int, *, lock: bool) -> Iterator[PostgresqlBatch]:
        """The next candidates in one transaction, with the others of their events; unlocked, to be counted only."""
        with self._database.transaction(self._tenants) as connection:
            if lock:
                _be_alone(connection)
            yield PostgresqlBatch(connection, _choose(connection, cut, after, size, lock=lock))

    def count_contents(self, cut: Cut, oldest: Mapping[str, datetime]) -> int:
        """How many contents nothing would name if only what is as old as ``oldest`` (by tenant) or younger stayed."""
        with self._database.transaction(self._tenants) as connection:
            found = connection.execute(_LIMITS.format(_STAYS), _limit_values(cut))
            limits = {row[0]: row[1] for row in found}
            for tenant, created in oldest.items():
                limits[tenant] = min(limits[tenant], created - PUT_AGAIN_WITHIN)
            row = connection.execute(_STALE.format("count(*)"), _limits(limits)).fetchone()
        return int(row[0]) if row is not None else 0

    def remove_contents(self, cut: Cut, size: int) -> Iterator[int]:
        """Remove the contents that nothing names any more, a batch at a time; yields how many."""
        with self._database.transaction(self._tenants) as connection:
            _be_alone(connection)
            connection.execute("SELECT interlock_summarise_payloads()")
            found = connection.execute(_LIMITS.format(""), _limit_values(cut))
            limits = _limits({row[0]: row[1] for row in found})
            # Found once and kept on the server: to look again for every batch would pass over all that was removed.
            connection.execute(f"SET LOCAL statement_timeout = '{_SWEEP_SECONDS}s'")
            stale = _STALE.format("p.tenant_id, p.digest, l.put_before")
            connection.execute(f"DECLARE stale CURSOR WITH HOLD FOR {stale}", limits)
            connection.commit()
            while page := connection.execute(f"FETCH {size} FROM stale").fetchall():
                see_tenants(connection, self._tenants)
                _be_alone(connection)
                removed = connection.execute(
                    _REMOVE_CONTENTS, [list(column) for column in zip(*page, strict=True)]
                )
                connection.commit()
                yield removed.rowcount
            connection.execute("CLOSE stale")


def _be_alone(connection: Connection) -> None:
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_RETAINING]).fetchone()
    if row is None or not row[0]:
        raise ConflictError("Another retention is at work on this database.", "Wait until it has ended.")


def _limit_values(cut: Cut) -> dict[str, object]:
    return {"cut": cut.closed_before, "put_again_within": PUT_AGAIN_WITHIN}


def _limits(by_tenant: Mapping[str, datetime]) -> dict[str, object]:
    """The dates before which content was last put that nothing names any more."""
    return {
        "tenants": list(by_tenant),
        "limits": list(by_tenant.values()),
        "latest": max(by_tenant.values(), default=None),
    }


@dataclass(slots=True)
class _Member:
    """An orchestration of an event with a candidate."""

    orchestration_id: str
    tenant_id: str
    source: str
    event_id: str
    created_at: datetime
    is_old: bool


def _choose(connection: Connection, cut: Cut, after: Place | None, size: int, *, lock: bool) -> Chosen:
    candidates = connection.execute(
        _CANDIDATES,
        {
            "cut": cut.closed_before,
            "closed_at": after.closed_at if after is not None else "-infinity",
            "orchestration_id": after.orchestration_id if after is not None else "",
            "size": size,
        },
    ).fetchall()
    if not candidates:
        return Chosen(None, (), 0, {}, {})
    names = [row[0] for row in candidates]
    members = [
        _Member(*row)
        for row in connection.execute(_FAMILIES, {"ids": names, "cut": cut.closed_before}).fetchall()
    ]
    why = _why_not(connection, cut, members, lock=lock)
    families: defaultdict[tuple[str, str, str], list[_Member]] = defaultdict(list)
    for member in members:
        families[member.tenant_id, member.source, member.event_id].append(member)
    going = [family for family in families.values() if not any(one.orchestration_id in why for one in family)]
    stays: dict[str, Reason] = {}
    oldest: dict[str, datetime] = {}
    looked_at = set(names)
    for family in families.values():
        reasons = [why[one.orchestration_id] for one in family if one.orchestration_id in why]
        if not reasons:
            continue
        for one in family:
            oldest[one.tenant_id] = min(one.created_at, oldest.get(one.tenant_id, one.created_at))
            if one.orchestration_id in looked_at:
                stays[one.orchestration_id] = why.get(one.orchestration_id, reasons[0])
    ids = [[one.orchestration_id for one in family] for family in going]
    if not lock:
        # Its others are candidates themselves, at their own place in the order of closing.
        ids = [[name for name in family if name in looked_at] for family in ids]
    last = candidates[-1]
    return Chosen(
        last=Place(last[1], last[0]),
        families=tuple(tuple(sorted(family)) for family in ids),
        facts=0 if lock else _count_facts(connection, [name for family in ids for name in family]),
        stays=stays,
        oldest=oldest,
    )


def _why_not(
    connection: Connection, cut: Cut, members: Sequence[_Member], *, lock: bool
) -> dict[str, Reason]:
    """Those of the orchestrations that stay for a reason of their own."""
    old = [member.orchestration_id for member in members if member.is_old]
    why = {member.orchestration_id: Reason.EVENT for member in members if not member.is_old}
    if lock:
        held = connection.execute(_LOCK, {"ids": old, "cut": cut.closed_before}).fetchall()
        why |= dict.fromkeys(set(old) - {row[0] for row in held}, Reason.WRITTEN)
    # Only now: what was committed before the locks were there is seen by these.
    for reason, query in _REASONS.items():
        if reason is Reason.DEAD_LETTER and cut.open_dead_letters:
            continue
        for row in connection.execute(query, [old]):
            why.setdefault(row[0], reason)
    return why


def _count_facts(connection: Connection, ids: Sequence[str]) -> int:
    row = connection.execute(_COUNT_FACTS, {"ids": list(ids)}).fetchone()
    return int(row[0]) if row is not None else 0
