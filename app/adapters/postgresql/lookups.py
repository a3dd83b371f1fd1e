"""What tools read: the tenants' reference data, for a template's lookups in one query for a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.adapters.postgresql.database import Database
from app.data_plane.ports import LookupRequest
from app.kernel.errors import DefectError
from app.kernel.proposal_schema import is_storable
from interlock.canonical import JsonObject, JsonValue

DIRECTORY = "directory.lookup"


class PostgresqlLookups:
    """``Lookups`` over the table of reference entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answer(self, requests: Sequence[LookupRequest]) -> list[JsonValue]:
        """One answer for each request, in order: ``{"found": bool, "entry": {...}}``.

        Raises:
            DefectError: a request names another tool (publishing refuses those).
        """
        for request in requests:
            if request.tool != DIRECTORY:
                raise DefectError(f"No lookup answers for the tool {request.tool}.")
        wanted = [_key(request) for request in requests]
        found = _entries(self._database, sorted(set(wanted)))
        return [
            {"found": True, "entry": found[key]} if key in found else {"found": False, "entry": {}}
            for key in wanted
        ]


class TenantReading:
    """``Reading`` of one tenant: what a tool that an agent calls may look at."""

    def __init__(self, database: Database, tenant_id: str) -> None:
        self._database = database
        self._tenant_id = tenant_id

    async def entry(self, collection: str, key: str) -> JsonObject | None:
        """An entry of the tenant's reference data; None when there is none. Raises InterlockError."""
        if not (is_storable(collection) and is_storable(key)):
            return None  # a model may ask for anything, and no entry has such a name
        wanted = (self._tenant_id, collection, key)
        # Off the loop: every call in flight would wait with it.
        return (await asyncio.to_thread(_entries, self._database, [wanted])).get(wanted)


class TenantReadings:
    """``Readings`` over the table of reference entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, tenant_id: str) -> TenantReading:
        """One tenant's data."""
        return TenantReading(self._database, tenant_id)


def _entries(
    database: Database, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], JsonObject]:
    with database.transaction([tenant for tenant, _, _ in keys]) as connection:
        rows = connection.execute(
            "SELECT tenant_id, collection, key, value"
            " FROM unnest(%s::text[], %s::text[], %s::text[]) AS wanted (tenant_id, collection, key)"
            " JOIN reference_entries USING (tenant_id, collection, key)",
            [[key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]],
        )
        return {(row[0], row[1], row[2]): row[3] for row in rows}


def _key(request: LookupRequest) -> tuple[str, str, str]:
    collection, key = request.arguments.get("collection"), request.arguments.get("key")
    # A key that is no text is in no directory.
    return (request.tenant_id, str(collection), key if isinstance(key, str) else "")
