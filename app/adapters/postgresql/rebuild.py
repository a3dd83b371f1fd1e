"""Rebuilding the read models from the journals: what differs is reported and replaced, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.adapters.postgresql import dead_letters, rows
from app.adapters.postgresql.database import Connection, Database
from app.adapters.postgresql.histories import read_chains
from app.data_plane.dead_letters import from_facts
from app.data_plane.dead_letters.from_facts import Owner
from app.data_plane.dead_letters.letters import DeadLetterRow
from app.data_plane.orchestration.recorder import NewerVersionError
from app.data_plane.projections import ActionRow, DecisionRow, read_model

BATCH = 256
"""Orchestrations whose heads are locked at once: nothing is recorded of them meanwhile."""

_Row = DecisionRow | ActionRow | DeadLetterRow
_Rows = dict[str, tuple[str, _Row]]
"""By the row's key: its tenant, and the row."""


@dataclass(slots=True)
class Rebuilt:
    """What was found, and replaced unless it was a dry run; each row is named by its key."""

    orchestrations: int = 0
    rows: int = 0
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether the read models were what the journals say."""
        return not (self.missing or self.differing or self.extra)


def rebuild_projections(
    database: Database,
    tenants: Sequence[str],
    *,
    dry_run: bool,
    advance: Callable[[int], None] = lambda _count: None,
) -> Rebuilt:
    """Compare the read models with the journals and, unless ``dry_run``, make them so.

    Args:
        database: under the role ``interlock_control``.
        advance: told how many more orchestrations are done.
    """
    rebuilt = Rebuilt()
    last = ""
    while tenants:
        with database.transaction(tenants) as connection:
            owners = _lock_heads(connection, last)
            if owners:
                _rebuild(connection, owners, rebuilt, dry_run=dry_run)
                last = list(owners)[-1]
            else:
                _remove_strays(connection, rebuilt, dry_run=dry_run)
        if not owners:
            break
        rebuilt.orchestrations += len(owners)
        advance(len(owners))
    return rebuilt


def _lock_heads(connection: Connection, last: str) -> dict[str, Owner]:
    """The next orchestrations and whose they are, behind their heads' locks (in the order that commits take)."""
    found = connection.execute(
        "SELECT orchestration_id, tenant_id, event_id, workflow FROM orchestrations WHERE orchestration_id > %s"
        " ORDER BY orchestration_id LIMIT %s FOR UPDATE",
        [last, BATCH],
    )
    return {row[0]: Owner(row[1], row[2], row[0], row[3]) for row in found}


def _rebuild(connection: Connection, owners: dict[str, Owner], rebuilt: Rebuilt, *, dry_run: bool) -> None:
    ids = list(owners)
    reran = dead_letters.last_reruns(connection, ids)
    wanted: _Rows = {}
    for key, chain in read_chains(connection, ids).items():
        if chain is None:
            raise NewerVersionError(key)
        model = read_model(chain)
        if model.decision is not None:
            wanted[key] = (owners[key].tenant_id, model.decision)
        wanted.update({row.action_id: (owners[key].tenant_id, row) for row in model.actions})
        letters = from_facts.dead_letters(owners[key], chain, reran.get(key, ""))
        wanted.update({row.dead_letter_id: (row.tenant_id, row) for row in letters})
    stored = _stored(connection, ids)
    missing = [key for key in wanted if key not in stored]
    extra = [key for key in stored if key not in wanted]
    differing = [key for key, row in wanted.items() if key in stored and stored[key] != row]
    rebuilt.rows += len(wanted)
    rebuilt.missing += missing
    rebuilt.extra += extra
    rebuilt.differing += differing
    if not dry_run:
        _delete(connection, extra + differing)
        _insert(connection, [wanted[key] for key in missing + differing])


def _stored(connection: Connection, ids: Sequence[str]) -> _Rows:
    decisions = connection.execute(
        "SELECT tenant_id, orchestration_id, decision_digest, outcome_digest, degraded, actions, decided_at"
        " FROM decisions WHERE orchestration_id = ANY(%s::text[])",
        [list(ids)],
    ).fetchall()
    actions = connection.execute(
        "SELECT tenant_id, action_id, orchestration_id, position, name, tool, target, state, arguments_digest,"
        " idempotency_key, attempts, receipt_digest, reason FROM actions WHERE orchestration_id = ANY(%s::text[])",
        [list(ids)],
    ).fetchall()
    stored: _Rows = {row[1]: (row[0], DecisionRow(*row[1:])) for row in decisions}
    stored.update({row[1]: (row[0], ActionRow(*row[1:])) for row in actions})
    letters = dead_letters.of_orchestrations(connection, ids)
    stored.update({row.dead_letter_id: (row.tenant_id, row) for row in letters if not row.message_digest})
    return stored


def _delete(connection: Connection, keys: Sequence[str]) -> None:
    if keys:
        connection.execute("DELETE FROM decisions WHERE orchestration_id = ANY(%s::text[])", [list(keys)])
        connection.execute("DELETE FROM actions WHERE action_id = ANY(%s::text[])", [list(keys)])
        connection.execute("DELETE FROM dead_letters WHERE dead_letter_id = ANY(%s::text[])", [list(keys)])


def _insert(connection: Connection, wanted: Sequence[tuple[str, _Row]]) -> None:
    decisions = [(tenant, row) for tenant, row in wanted if isinstance(row, DecisionRow)]
    rows.insert_decisions(connection, decisions)
    rows.insert_actions(connection, [(tenant, row) for tenant, row in wanted if isinstance(row, ActionRow)])
    dead_letters.upsert(connection, [row for _, row in wanted if isinstance(row, DeadLetterRow)])


def _remove_strays(connection: Connection, rebuilt: Rebuilt, *, dry_run: bool) -> None:
    """Rows of orchestrations that do not exist."""
    keys = (
        ("decisions", "orchestration_id"),
        ("actions", "action_id"),
        ("dead_letters WHERE message_digest = ''", "dead_letter_id"),
    )
    for table, key in keys:
        found = connection.execute(
            f"SELECT {key} FROM (SELECT * FROM {table}) r WHERE NOT EXISTS"  # noqa: S608 - of the names above
            " (SELECT FROM orchestrations o WHERE o.orchestration_id = r.orchestration_id)"
        )
        strays = [row[0] for row in found]
        rebuilt.extra += strays
        if not dry_run:
            _delete(connection, strays)
