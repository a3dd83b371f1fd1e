"""The register of replays, in PostgreSQL: requesting them, ending them, and reading who did what and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.adapters.postgresql import rows
from app.adapters.postgresql.database import Connection, Database, Row
from app.data_plane.ports import NewStep, Queue
from app.data_plane.replay.register import (
    Beginning,
    NewReplay,
    ReplayEnd,
    ReplayRow,
    Standing,
    Wanted,
)

_COLUMNS = (
    "replay_id, tenant_id, orchestration_id, dead_letter_id, mode, release, actor, reason_digest, plan_digest, state,"
    " outcome, new_orchestration_id, requested_at, finished_at"
)
_SELECT = f"SELECT {_COLUMNS} FROM replays"  # noqa: S608 - of the names above
_SELECT_NEWEST = f"SELECT DISTINCT ON (orchestration_id) {_COLUMNS} FROM replays"  # noqa: S608 - likewise
_MOST_RELEASES = 3


@dataclass(slots=True)
class Written:
    """What a batch of changes wants written of replays; beginnings with their tenant."""

    beginnings: list[tuple[str, Beginning]] = field(default_factory=list)
    ends: list[ReplayEnd] = field(default_factory=list)


def write(connection: Connection, written: Written, at: str) -> None:
    """Start what reruns start, and end the replays' rows; costs nothing when there are none."""
    rows.insert_beginnings(connection, written.beginnings, at)
    if written.ends:
        connection.execute(
            "UPDATE replays SET state = new.state, outcome = new.outcome, new_orchestration_id = new.begun,"
            " finished_at = clock_timestamp()"
            " FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[]) AS new (replay_id, state, outcome, begun)"
            " WHERE replays.replay_id = new.replay_id AND finished_at IS NULL",
            [
                [end.replay_id for end in written.ends],
                [end.state for end in written.ends],
                [end.outcome for end in written.ends],
                [end.new_orchestration_id for end in written.ends],
            ],
        )


class PostgresqlReplays:
    """``Replays`` over PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, requested: Sequence[NewReplay]) -> dict[str, ReplayRow]:
        """Register replays with their contents and steps in one commit.

        By orchestration: the row that stood in the way of those that were not registered, as another replay of the
        same orchestration is not finished, or was requested since they were planned.
        """
        if not requested:
            return {}
        with self._database.transaction([one.tenant_id for one in requested]) as connection:
            return _register(connection, requested)

    def of(
        self, tenants: Sequence[str], orchestration_ids: Sequence[str]
    ) -> dict[str, tuple[ReplayRow, ...]]:
        """The replays of these orchestrations, the oldest first; one without any is absent."""
        if not orchestration_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            found = connection.execute(
                f"{_SELECT} WHERE orchestration_id = ANY(%s::text[]) ORDER BY requested_at, replay_id",
                [list(orchestration_ids)],
            ).fetchall()
        of: defaultdict[str, list[ReplayRow]] = defaultdict(list)
        for row in found:
            of[row[2]].append(_row(row))
        return {key: tuple(listed) for key, listed in of.items()}

    def named(self, tenants: Sequence[str], replay_ids: Sequence[str]) -> dict[str, ReplayRow]:
        """Replays by id."""
        if not replay_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            found = connection.execute(f"{_SELECT} WHERE replay_id = ANY(%s::text[])", [list(replay_ids)])
            return {row[0]: _row(row) for row in found}

    def beginning(self, tenants: Sequence[str], start: str, *, limit: int = 3) -> tuple[ReplayRow, ...]:
        """The replays whose id begins so, up to ``limit``."""
        if not tenants:
            return ()
        with self._database.transaction(tenants) as connection:
            found = connection.execute(
                f"{_SELECT} WHERE replay_id >= %s AND replay_id <= %s || 'z' AND starts_with(replay_id, %s)"
                " ORDER BY replay_id LIMIT %s",
                [start, start, start, limit],
            )
            return tuple(_row(row) for row in found)

    def newest(self, tenants: Sequence[str], wanted: Wanted) -> tuple[ReplayRow, ...]:
        """One page of replays, the newest first."""
        if not tenants:
            return ()
        query, values = page_query(wanted)
        with self._database.transaction(tenants) as connection:
            found = connection.execute(query, [list(tenants), *values, wanted.limit, wanted.limit])
            return tuple(_row(row) for row in found)

    def standing(self, replay_ids: Sequence[str]) -> dict[str, Standing]:
        """Where these replays stand, as far as they are not finished."""
        if not replay_ids:
            return {}
        with self._database.transaction() as connection:
            found = connection.execute(
                # Written so that only the primary key's index fits.
                "SELECT step_id, due_at <= clock_timestamp(), attempts FROM work_index"
                " WHERE step_id = ANY(%s::text[]) AND coalesce(finished_at, 'infinity') = 'infinity'",
                [list(replay_ids)],
            )
            return {row[0]: Standing(row[1], row[2]) for row in found}

    def last_ordinals(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, int]:
        """By original: the highest ordinal of its reruns; one without any is absent."""
        if not orchestration_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            found = connection.execute(
                "SELECT o.orchestration_id, max(r.ordinal) FROM orchestrations o JOIN orchestrations r"
                " ON (r.tenant_id, r.source, r.event_id) = (o.tenant_id, o.source, o.event_id)"
                " AND r.workflow = o.workflow AND r.lane = 'rerun'"
                " WHERE o.orchestration_id = ANY(%s::text[]) GROUP BY 1",
                [list(orchestration_ids)],
            )
            return {row[0]: row[1] for row in found}

    def releases_beginning(self, digest: str) -> dict[str, str]:
        """By digest, up to a few: the workflows of the published releases whose digest begins so."""
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT digest, workflow FROM releases WHERE digest >= %s AND digest <= %s || 'z'"
                " AND starts_with(digest, %s) ORDER BY digest LIMIT %s",
                [digest, digest, digest, _MOST_RELEASES],
            )
            return {row[0]: row[1] for row in found}


def page_query(wanted: Wanted) -> tuple[str, list[object]]:
    """The query of one page, and what goes between its tenants and its two limits.

    A page from each tenant's own index, and then the page of pages, as with dead letters.
    """
    conditions: list[str] = []
    values: list[object] = []
    for condition, value in (
        ("state = %s", wanted.state),
        ("actor = %s", wanted.actor),
        ("orchestration_id = %s", wanted.orchestration_id),
        ("mode = %s", wanted.mode),
        ("reason_digest = %s", wanted.reason_digest),
        ("requested_at >= %s", wanted.since),
        ("requested_at < %s", wanted.until),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if wanted.before is not None:
        conditions.append("(requested_at, replay_id) < (%s::timestamptz, %s)")
        values += [wanted.before.requested_at, wanted.before.replay_id]
    where = "".join(f" AND {condition}" for condition in conditions)
    query = (
        f"SELECT {_COLUMNS} FROM unnest(%s::text[]) AS asked (name), LATERAL ("  # noqa: S608 - of names and literals
        f"SELECT {_COLUMNS} FROM replays WHERE tenant_id = asked.name{where}"
        " ORDER BY requested_at DESC, replay_id DESC LIMIT %s"
        ") AS newest ORDER BY requested_at DESC, replay_id DESC LIMIT %s"
    )
    return query, values


def _register(connection: Connection, requested: Sequence[NewReplay]) -> dict[str, ReplayRow]:
    # First the rows, in the order of their orchestrations: whoever waits here for another's commit holds nothing yet
    # that the other one may need.
    ordered = sorted(requested, key=lambda one: one.orchestration_id)
    added = connection.execute(
        "INSERT INTO replays (replay_id, tenant_id, orchestration_id, dead_letter_id, mode, release, actor,"
        " reason_digest, plan_digest, state)"
        " SELECT *, 'requested' FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],"
        " %b::text[], %b::text[], %b::text[]) ON CONFLICT DO NOTHING RETURNING replay_id",
        [
            [one.replay_id for one in ordered],
            [one.tenant_id for one in ordered],
            [one.orchestration_id for one in ordered],
            [one.dead_letter_id for one in ordered],
            [one.mode for one in ordered],
            [one.release for one in ordered],
            [one.actor for one in ordered],
            [one.reason_digest for one in ordered],
            [one.plan_digest for one in ordered],
        ],
    )
    names = {row[0] for row in added}
    mine = [one for one in ordered if one.replay_id in names]
    contents = {(one.tenant_id, digest): body for one in mine for digest, body in one.contents.items()}
    rows.insert_contents(connection, contents)
    rows.insert_steps(connection, [_step(one) for one in mine])
    return _in_the_way(connection, [one for one in ordered if one.replay_id not in names])


def _step(one: NewReplay) -> NewStep:
    return NewStep(
        one.replay_id,
        one.tenant_id,
        one.orchestration_id,
        Queue.REPLAY,
        subject=one.mode,
        due_in_seconds=one.due_in_seconds,
    )


def _in_the_way(connection: Connection, refused: Sequence[NewReplay]) -> dict[str, ReplayRow]:
    """By orchestration: its replay that is not finished, else the newest, which no plan of these knew of."""
    if not refused:
        return {}
    found = connection.execute(
        f"{_SELECT_NEWEST} WHERE orchestration_id = ANY(%s::text[])"
        " ORDER BY orchestration_id, finished_at IS NULL DESC, requested_at DESC, replay_id",
        [[one.orchestration_id for one in refused]],
    )
    return {row[2]: _row(row) for row in found}


def _row(row: Row) -> ReplayRow:
    return ReplayRow(*row)
