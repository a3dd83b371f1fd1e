"""Reading journals and content back, a batch at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from app.adapters.postgresql.database import Connection
from app.data_plane.ports import History
from app.kernel.facts import Recorded, decode


def read_histories(connection: Connection, orchestration_ids: Sequence[str]) -> dict[str, History]:
    """The orchestrations and their whole chains, by id."""
    facts = read_chains(connection, orchestration_ids)
    found = connection.execute(
        "SELECT orchestration_id, tenant_id, release, traceparent, source, event_id FROM orchestrations"
        " WHERE orchestration_id = ANY(%b::text[])",
        [list(orchestration_ids)],
    )
    # The head is taken from the facts that were read: a fact committed in between makes the change behind it `moved`.
    return {
        row[0]: History(row[0], row[1], row[2], row[3], facts.get(row[0], ()), len(facts.get(row[0], ())))
        for row in found
    }


def read_chains(connection: Connection, chain_ids: Sequence[str]) -> dict[str, tuple[Recorded, ...]]:
    """The facts of chains in order, by chain; a chain without facts is absent."""
    found = connection.execute(
        "SELECT chain_id, body FROM journal WHERE chain_id = ANY(%b::text[]) ORDER BY chain_id, seq",
        [list(chain_ids)],
        binary=True,
    )
    chains: defaultdict[str, list[Recorded]] = defaultdict(list)
    for chain_id, body in found:
        chains[chain_id].append(decode(body))
    return {chain_id: tuple(recorded) for chain_id, recorded in chains.items()}


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
