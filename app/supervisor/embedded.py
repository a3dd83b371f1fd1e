"""The embedded servers together: what a test, a benchmark or ``up`` starts first."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from app.supervisor.lock import FolderLock
from app.supervisor.postgresql import PostgresqlServer
from app.supervisor.redis import RedisServer
from app.supervisor.run_folder import RunFolder


class EmbeddedServers:
    """PostgreSQL and Redis in one run folder, for as long as the ``with`` block lasts::

        with EmbeddedServers(home, durable=False) as servers:
            psycopg.connect(servers.database_url)

    The data stays in ``home`` and is found again by the next start, which first stops the servers that a
    killed owner left.

    Args:
        home: the run folder; made if absent.
        durable: False is faster and may lose data in a power cut; for tests.
        postgresql: False when a database of your own is used.
        redis: False when a Redis of your own is used.

    Raises:
        AlreadyRunningError: another live process has servers in this folder.
        MissingBinaryError, ServerStartError: see the servers' own ``start``.
    """

    def __init__(
        self, home: Path, *, durable: bool = True, postgresql: bool = True, redis: bool = True
    ) -> None:
        self.folder = RunFolder(home)
        self.postgresql = PostgresqlServer(self.folder, durable=durable) if postgresql else None
        self.redis = RedisServer(self.folder) if redis else None
        self._lock = FolderLock(self.folder.run / "servers.lock", "Embedded servers")

    @property
    def database_url(self) -> str:
        """Of the embedded PostgreSQL; the user is its superuser."""
        return self.folder.database_url

    @property
    def redis_url(self) -> str:
        """Of the embedded Redis, as redis-py reads it (``unix://``)."""
        return self.folder.redis_url

    def start(self) -> None:
        """Start both; when one fails, neither stays."""
        self._lock.acquire()
        try:
            if self.postgresql is not None:
                self.postgresql.start()
            if self.redis is not None:
                self.redis.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both and give the folder free."""
        if self.redis is not None:
            self.redis.stop()
        if self.postgresql is not None:
            self.postgresql.stop()
        self._lock.release()

    def stop_orphans_of_a_killed_owner(self) -> list[str]:
        """End servers that were left in this folder, without starting new ones; returns their names."""
        self._lock.acquire()
        try:
            servers = {"postgresql": self.postgresql, "redis": self.redis}
            return [
                name
                for name, server in servers.items()
                if server is not None and server.stop_orphan_of_a_killed_owner()
            ]
        finally:
            self._lock.release()

    def pids(self) -> dict[str, int]:
        """The servers that run now, by name."""
        servers = {"postgresql": self.postgresql, "redis": self.redis}
        return {
            name: server.pid
            for name, server in servers.items()
            if server is not None and server.pid is not None
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
