"""Reading journals and content back, a batch at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pydantic import ValidationError

from app.adapters.postgresql.database import Connection
from app.data_plane.ports import History
from app.kernel.facts import Recorded, decode


def read_histories(connection: Connection, orchestration_ids: Sequence[str]) -> dict[str, History]:
    """The orchestrations and their whole chains, by id."""
    facts, unreadable = _read(connection, orchestration_ids)
    found = connection.execute(
        "SELECT orchestration_id, tenant_id, release, traceparent, source, event_id FROM orchestrations"
        " WHERE orchestration_id = ANY(%b::text[])",
        [list(orchestration_ids)],
    )
    # The head is taken from the facts that were read: a fact committed in between makes the change behind it `moved`.
    return {
        row[0]: History(
            row[0],
            row[1],
            row[2],
            row[3],
            facts.get(row[0], ()),
            len(facts.get(row[0], ())),
            readable=row[0] not in unreadable,
        )
        for row in found
    }


def read_chains(connection: Connection, chain_ids: Sequence[str]) -> dict[str, tuple[Recorded, ...] | None]:
    """The facts of chains in order, by chain: a chain without facts is absent, one that cannot be read is None."""
    facts, unreadable = _read(connection, chain_ids)
    return {**facts, **dict.fromkeys(unreadable)}


def _read(
    connection: Connection, chain_ids: Sequence[str]
) -> tuple[dict[str, tuple[Recorded, ...]], frozenset[str]]:
    """The facts of chains, and the chains that a newer version of Interlock wrote to."""
    found = connection.execute(
        "SELECT chain_id, body FROM journal WHERE chain_id = ANY(%b::text[]) ORDER BY chain_id, seq",
        [list(chain_ids)],
        binary=True,
    )
    chains: defaultdict[str, list[Recorded]] = defaultdict(list)
    unreadable: set[str] = set()
    for chain_id, body in found:
        try:
            chains[chain_id].append(decode(body))
        except ValidationError:
            unreadable.add(chain_id)
    readable = {key: tuple(facts) for key, facts in chains.items() if key not in unreadable}
    return readable, frozenset(unreadable)


def read_hashes(connection: Connection, chain_ids: Sequence[str]) -> dict[str, str]:
    """The hash of each chain's last fact, in hexadecimal."""
    found = connection.execute(
        "SELECT DISTINCT ON (chain_id) chain_id, hash FROM journal WHERE chain_id = ANY(%b::text[])"
        " ORDER BY chain_id, seq DESC",
        [list(chain_ids)],
    )
    return {row[0]: row[1].hex() for row in found}


def read_contents(connection: Connection, digests: Sequence[str]) -> dict[str, bytes]:
    """Content by digest."""
    found = connection.execute(
        "SELECT digest, body FROM payloads WHERE tenant_id = ANY ((SELECT interlock_tenants())::text[])"
        " AND digest = ANY(%b::bytea[])",
        [[bytes.fromhex(digest) for digest in sorted(set(digests))]],
        binary=True,
    )
    return {row[0].hex(): row[1] for row in found}
