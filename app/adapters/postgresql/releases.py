"""Published releases, as the data plane reads them. They never change, so each is read once."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from pydantic import ValidationError

from app.adapters.postgresql.database import Database
from app.data_plane.ports import Subscription
from app.kernel.errors import PermanentError
from app.kernel.release import GATEWAY, Release
from app.kernel.tool_spec import ToolSpec


class ReleaseUnavailableError(PermanentError):
    """This worker cannot load exactly that release; orchestrations pinned to it wait for one that can."""

    code = "release_unavailable"


class PostgresqlReleases:
    """``Releases`` over PostgreSQL.

    Args:
        tools: the tools that this worker's code carries; a release that wants another version of one is unavailable.
    """

    def __init__(self, database: Database, tools: Mapping[str, ToolSpec]) -> None:
        self._database = database
        self._tools = tools
        self._loaded: dict[str, Release] = {}
        self._subscribed: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def get(self, digest: str) -> Release:
        """The release of that digest. Raises ReleaseUnavailableError."""
        release = self._loaded.get(digest)
        if release is None:
            release = self._load(digest)
            with self._lock:
                self._loaded[digest] = release
        return release

    def routes(self) -> tuple[Subscription, ...]:
        """The workflows that take events now. Needs no release to be loaded: its orchestrations may wait for that."""
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT workflow, channel, release_digest FROM channels WHERE channel = 'stable' ORDER BY workflow"
            ).fetchall()
        return tuple(Subscription(row[0], row[1], row[2], self._types(row[2])) for row in found)

    def _types(self, digest: str) -> tuple[str, ...]:
        """The event types that a release subscribes to, read from its bytes alone."""
        known = self._subscribed.get(digest)
        if known is None:
            with self._database.transaction() as connection:
                row = connection.execute(
                    "SELECT convert_from(body, 'UTF8')::jsonb #> '{template,subscribes}'"
                    " FROM releases WHERE digest = %s",
                    [digest],
                ).fetchone()
            known = self._subscribed[digest] = tuple(row[0]) if row is not None else ()
        return known

    def _load(self, digest: str) -> Release:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT body FROM releases WHERE digest = %s", [digest], binary=True
            ).fetchone()
        if row is None:
            raise ReleaseUnavailableError(
                f"The release {digest[:12]} is not published here.", "Publish it again from its documents."
            )
        try:
            release = Release.model_validate_json(row[0])
        except ValidationError as error:
            raise ReleaseUnavailableError(
                f"The release {digest[:12]} does not fit this version of Interlock ({error.error_count()} faults).",
                "Run a worker of the version that published it.",
            ) from error
        self._check(release, digest)
        return release

    def _check(self, release: Release, digest: str) -> None:
        if release.digest != digest:
            raise ReleaseUnavailableError(
                f"The stored release {digest[:12]} reads as {release.digest[:12]}.",
                "Run a worker of the version that published it; if there is none, the row was changed.",
            )
        if release.gateway not in ("", GATEWAY):
            raise ReleaseUnavailableError(
                f"The release {digest[:12]} is judged by {release.gateway}, and this worker knows {GATEWAY}.",
                "Run a worker of the version that published it.",
            )
        for name, wanted in release.tools.items():
            carried = self._tools.get(name)
            if carried is None or carried.version != wanted.version:
                raise ReleaseUnavailableError(
                    f"The release {digest[:12]} wants the tool {name} in version {wanted.version}.",
                    "Run a worker whose code carries that version.",
                )
