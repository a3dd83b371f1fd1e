"""Counting the facts of all journals, each exactly once, whatever transactions were open: a table of sums that stays.

A page is one transaction: it counts the facts that its snapshot sees and that no page before it saw, as ``anchoring``
finds them by the number of the transaction that wrote them, and moves the position on. A long journal is counted in
many pages: each ends at a number, and whoever still writes below it is remembered as running.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from app.adapters.postgresql.database import Connection, Database, Row, was_outrun
from app.data_plane.counting import LABELS, PLAIN, UNKNOWN, Count, Known, Pinned, Wanted, counts
from app.kernel.errors import TransientError
from app.kernel.facts import ModelAsked, Recorded, decode
from app.telemetry import metric_names as names

_log = logging.getLogger(__name__)

COUNTING = 0x636F756E74696E67  # "counting": the advisory lock of the one who counts
CHUNK = 2_000
"""Facts that are in memory at once."""

FIRST_WIDTH = 4_096
"""Transactions that the first page looks at; later ones at more or fewer, by how many facts these had."""
_LEAST_WIDTH, _MOST_WIDTH = 64, 1 << 40
_FEW = 5_000

MOST_FACTS = 50_000
"""Facts of one page; where there are more, it is given up and begun anew with fewer transactions."""

MOST_SETS = 1_000
"""Sets of labels that one counter has at most; what comes later is counted as ``other``."""

_MOMENT = """
SELECT pg_try_advisory_xact_lock(%s), (SELECT system_identifier::text FROM pg_control_system()),
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       ARRAY(SELECT running::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS running)
"""
_POSITION = "SELECT server, upto, running, began_at, whole_at FROM fact_counts_position"
_NEW = """
SELECT chain_id, seq, body FROM journal
WHERE (written_in >= %(since)s AND written_in < %(until)s) OR written_in = ANY(%(running)s::bigint[])
"""
_FROM_BEFORE_NUMBERS = " OR written_in IS NULL"
ADD = (
    "INSERT INTO fact_counts (metric, labels, value) VALUES (%s, %s, %s)"
    " ON CONFLICT (metric, labels) DO UPDATE SET value = fact_counts.value + EXCLUDED.value"
)
"""Adds to one sum."""
_MOVE = """
UPDATE fact_counts_position SET server = %(server)s, upto = %(upto)s, running = %(running)s::bigint[],
    whole_at = CASE WHEN %(whole)s THEN clock_timestamp() ELSE whole_at END
"""
_BEGIN_ANEW = "UPDATE fact_counts_position SET whole_at = NULL, began_at = clock_timestamp()"
_FORGET = "DELETE FROM fact_counts WHERE metric = ANY(%s::text[])"
# What does not follow from journals: the rows that are there, beside those that retention has removed.
_ROWS = {
    names.DEAD_LETTERS: "SELECT queue, cause, sum(times) FROM dead_letters WHERE message_digest <> '' GROUP BY 1, 2",
    names.REPLAYS: "SELECT mode, state, count(*) FROM replays GROUP BY 1, 2",
}
_REMOVED = ":removed"
_PINNED = """
SELECT orchestration_id, workflow, release, channel FROM orchestrations WHERE orchestration_id = ANY(%s::text[])
"""
_TARGETS = "SELECT action_id, target FROM actions WHERE action_id = ANY(%s::text[])"
_QUESTIONS = """
SELECT j.chain_id, j.seq, j.body FROM unnest(%s::text[], %s::int4[]) AS asked (chain_id, seq)
JOIN journal j USING (chain_id, seq)
"""


_KIND = re.compile(rb'"kind":"([a-z_]+)"')
"""A fact's kind in its canonical bytes; a quotation mark inside of a text stands behind a backslash there."""


class Sums(NamedTuple):
    """What is counted so far, and as of when."""

    values: Mapping[str, Mapping[tuple[str, ...], int]]
    """By metric and labels."""
    is_whole: bool
    """Every fact was counted once since counting began; before that, the sums say little."""
    lag_seconds: float
    """Since every fact was counted last, or since counting began."""


@dataclass(frozen=True, slots=True)
class _Position:
    server: str
    upto: int
    running: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Moment:
    """What one snapshot is: ``end`` and above began after it, and the running ones were not over."""

    server: str
    end: int
    running: tuple[int, ...]


class _TooManyError(Exception):
    """A page has more facts than it may; nothing of it is kept."""


class FactCounts:
    """The counters that journals feed.

    Args:
        database: under the role ``interlock_metrics``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._width = FIRST_WIDTH

    def fold(self, within_seconds: float) -> bool:
        """Count what is new, in pages, for about so long; whether nothing was left, or somebody else counts now.

        Raises TransientError.
        """
        until = time.monotonic() + within_seconds
        with self._database.transaction() as connection:
            connection.execute("SELECT interlock_summarise_journal()")
        while not self._try_page():
            if time.monotonic() >= until:
                return False
        return True

    def sums(self) -> Sums:
        """What is counted, with the rows that are counted as they are. Raises TransientError."""
        with self._database.transaction() as connection:
            # Retention moves rows to the sums: both must be of one moment.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            found = connection.execute("SELECT metric, labels, value FROM fact_counts").fetchall()
            row = connection.execute(
                "SELECT whole_at IS NOT NULL,"
                " extract(epoch FROM clock_timestamp() - coalesce(whole_at, began_at))::float8"
                " FROM fact_counts_position"
            ).fetchone()
            for metric, query in _ROWS.items():
                found += [(metric, one[:2], one[2]) for one in connection.execute(query)]
        values: dict[str, Counter[tuple[str, ...]]] = {}
        for metric, labels, value in found:
            values.setdefault(metric.removesuffix(_REMOVED), Counter())[tuple(labels)] += int(value)
        return Sums(values, row is not None and bool(row[0]), float(row[1]) if row is not None else 0.0)

    def _try_page(self) -> bool:
        try:
            return self._page()
        except _TooManyError:
            self._width = max(self._width // 16, _LEAST_WIDTH)
            return False
        except TransientError as error:
            # A snapshot is older than the lock that is taken with it: somebody else has counted in between.
            if not was_outrun(error):
                raise
            return True

    def _page(self) -> bool:
        """Count the next page; whether it was the last."""
        with self._database.transaction() as connection:
            # The position, the snapshot's numbers and the facts must be of one moment.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            moment = _moment(connection)
            if moment is None:
                return True
            position = _position(connection)
            if position.server not in ("", moment.server):
                # As after a restore elsewhere: another server's numbers say nothing, and all is counted anew.
                _log.warning("this database came from another server: its facts are counted anew")
                connection.execute(_FORGET, [list(LABELS)])
                connection.execute(_BEGIN_ANEW)
                position = _Position("", 0, ())
            end = min(moment.end, position.upto + self._width)
            seen, added = _count(connection, position, end)
            _add(connection, added)
            running = [number for number in moment.running if number < end]
            whole = end == moment.end
            values = {"server": moment.server, "upto": end, "running": running, "whole": whole}
            connection.execute(_MOVE, values)
        if seen < _FEW:
            self._width = min(self._width * 4, _MOST_WIDTH)
        if not whole and seen:
            _log.info("%d facts counted, up to transaction %d of %d", seen, end, moment.end)
        return whole


def of_removed(metric: str) -> str:
    """Where the count of rows that retention has removed is kept."""
    return metric + _REMOVED


def _moment(connection: Connection) -> _Moment | None:
    """This transaction's snapshot; None while somebody else counts."""
    row = connection.execute(_MOMENT, [COUNTING]).fetchone()
    if row is None or not row[0]:
        return None
    return _Moment(row[1], row[2], tuple(row[3]))


def _position(connection: Connection) -> _Position:
    row = connection.execute(_POSITION).fetchone()
    assert row is not None, "the migration has put it there"
    return _Position(row[0], row[1], tuple(row[2]))


def _count(
    connection: Connection, position: _Position, end: int
) -> tuple[int, Counter[tuple[str, tuple[str, ...]]]]:
    """How many facts this page has, and what they add. Raises _TooManyError."""
    query = _NEW if position.upto else _NEW + _FROM_BEFORE_NUMBERS
    values = {"since": position.upto, "until": end, "running": list(position.running)}
    added: Counter[tuple[str, tuple[str, ...]]] = Counter()
    seen = 0
    with connection.cursor(name="facts") as cursor:
        cursor.execute(query, values, binary=True)
        while rows := cursor.fetchmany(CHUNK):
            seen += len(rows)
            if seen > MOST_FACTS and end - position.upto > _LEAST_WIDTH:
                raise _TooManyError
            for one in _counts(connection, rows):
                added[one.metric, one.labels] += one.amount
    return seen, added


def _counts(connection: Connection, rows: Sequence[Row]) -> Iterator[Count]:
    """What these facts add, with what is looked up of them."""
    facts: list[Recorded] = []
    for row in rows:
        kind = _plain_kind(row[2])
        if kind:
            yield Count(names.FACTS, (kind,))
            continue
        try:
            facts.append(decode(row[2]))
        except ValidationError:
            yield Count(names.FACTS, (UNKNOWN,))
    known = _known(connection, facts)
    for recorded in facts:
        yield from counts(recorded, known)


def _plain_kind(body: bytes) -> str:
    """The kind of a fact that counts as no more than that; empty where the body has to be read.

    Reading a body takes ten times as long, and most facts are of such a kind.
    """
    found = _KIND.findall(body)
    kind = found[0].decode() if len(found) == 1 else ""
    return kind if kind in PLAIN else ""


def _known(connection: Connection, facts: Sequence[Recorded]) -> Known:
    wanted = Wanted()
    for recorded in facts:
        wanted.add(recorded)
    models = {(one.chain_id, one.seq): one.fact.model for one in facts if isinstance(one.fact, ModelAsked)}
    missing = sorted(wanted.questions - models.keys())
    return Known(
        orchestrations={row[0]: Pinned(*row[1:]) for row in _all(connection, _PINNED, wanted.orchestrations)},
        targets={row[0]: row[1] for row in _all(connection, _TARGETS, wanted.actions)},
        models={**models, **_asked(connection, missing)},
    )


def _all(connection: Connection, query: str, keys: set[str]) -> list[Row]:
    return connection.execute(query, [sorted(keys)]).fetchall() if keys else []


def _asked(connection: Connection, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """The models that were asked by these facts; a page may have cut a question from its answer."""
    if not places:
        return {}
    chains, numbers = [chain for chain, _ in places], [seq for _, seq in places]
    found: dict[tuple[str, int], str] = {}
    for chain, seq, body in connection.execute(_QUESTIONS, [chains, numbers], binary=True):
        fact = decode(body).fact
        if isinstance(fact, ModelAsked):
            found[chain, seq] = fact.model
    return found


def _add(connection: Connection, added: Mapping[tuple[str, tuple[str, ...]], int]) -> None:
    if not added:
        return
    sets: dict[str, set[tuple[str, ...]]] = {}
    for metric, labels in connection.execute("SELECT metric, labels FROM fact_counts"):
        sets.setdefault(metric, set()).add(tuple(labels))
    capped: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for (metric, labels), amount in added.items():
        known = sets.setdefault(metric, set())
        if labels not in known and len(known) >= MOST_SETS:
            labels = ("other",) * len(labels)
        known.add(labels)
        capped[metric, labels] += amount
    rows = [(metric, list(labels), amount) for (metric, labels), amount in sorted(capped.items())]
    with connection.cursor() as cursor:
        cursor.executemany(ADD, rows)
