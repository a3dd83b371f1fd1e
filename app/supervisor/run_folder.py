"""The run folder: where one installation keeps what it runs on, and where its embedded servers listen.

Everything here is a pure function of the folder's path, so a worker that is started by hand beside a running
service finds the same servers without asking anybody.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

LONGEST_SOCKET_PATH = 100
"""Bytes. The limit for a Unix socket's path is 107 on Linux and 103 on macOS (``sun_path`` in unix(7))."""

_SHORT = Path("/tmp")  # noqa: S108 - a worker with another TMPDIR must find it; the servers check its owner
_POSTGRESQL_SOCKET = ".s.PGSQL.5432"
_REDIS_SOCKET = "redis.sock"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths below one home, and the addresses of the servers embedded in it."""

    home: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", self.home.expanduser().absolute())

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own folder; below it ``data``."""
        return self.home / "postgres"

    @property
    def redis(self) -> Path:
        """Redis's working folder."""
        return self.home / "redis"

    @property
    def logs(self) -> Path:
        """One log file for each process."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Locks, and the record of the processes that were started."""
        return self.home / "run"

    @property
    def postgres_sockets(self) -> Path:
        """The folder that PostgreSQL's Unix socket is in."""
        return self._near(self.postgres, _POSTGRESQL_SOCKET)

    @property
    def redis_socket(self) -> Path:
        """Redis's Unix socket."""
        return self._near(self.redis, _REDIS_SOCKET) / _REDIS_SOCKET

    @property
    def database_url(self) -> str:
        """Of the embedded PostgreSQL, as libpq reads it."""
        return f"postgresql://postgres@/interlock?host={quote(str(self.postgres_sockets), safe='')}"

    @property
    def redis_url(self) -> str:
        """Of the embedded Redis, as redis-py reads it."""
        return f"unix://{quote(str(self.redis_socket))}?db=0"

    def _near(self, folder: Path, socket: str) -> Path:
        if len(str(folder / socket).encode()) <= LONGEST_SOCKET_PATH:
            return folder
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        return _SHORT / f"interlock-{digest}"
