"""The database that a command reads: one that is up, or the run folder's own, started for as long as the command runs.

So what was run can be read after the service has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from app.adapters.postgresql.database import Database, Role
from app.adapters.postgresql.redaction_patterns import learn_patterns
from app.adapters.postgresql.tenants import TenantDocuments
from app.kernel.errors import NotFoundError
from app.supervisor.embedded import EmbeddedServers
from app.supervisor.errors import AlreadyRunningError
from app.supervisor.lock import FolderLock
from app.telemetry.redaction import switch_off
from config import settings
from config.settings import Settings

READERS_SECONDS = 60.0
"""How long a command waits for another one that started the server for itself."""


class NothingRunHereError(NotFoundError):
    """The run folder has no database: nothing was ever started in it."""

    code = "nothing_run_here"


@contextmanager
def database_at_hand(role: Role, *, size: int = 1) -> Iterator[Database]:
    """The configured database under ``role``.

    The embedded server is started and stopped again where it is not up; one that is given by URL never is.

    Raises:
        NothingRunHereError: the run folder has no database.
        AlreadyRunningError: another command kept the folder's server for itself too long.
        MissingBinaryError, ServerStartError: the server could not be started.
    """
    chosen = settings.load()
    with ExitStack() as stack:
        if chosen.database_url is None:
            _serve(chosen, stack)
        database = Database(chosen.effective_database_url, role, size=size)
        stack.callback(database.close)
        if chosen.unsafe_no_redaction:
            switch_off()
        learn_patterns(TenantDocuments(database))
        yield database


def _serve(chosen: Settings, stack: ExitStack) -> None:
    """Have the folder's server up until the stack is closed; what a service runs is used as it is."""
    folder = chosen.folder
    if not (folder.postgres / "data" / "PG_VERSION").exists():
        raise NothingRunHereError(
            f"Nothing was run here yet: {folder.home} has no database.",
            "Run `make demo` or `python -m app up`, or name another run folder with INTERLOCK_HOME.",
        )
    # Only one command at a time may start the server: the second would lose it when the first has read enough.
    turn = FolderLock(folder.run / "reading.lock", "A reading command")
    turn.acquire(wait_seconds=READERS_SECONDS)
    stack.callback(turn.release)
    servers = EmbeddedServers(folder.home, redis=False)
    try:
        servers.start()
    except AlreadyRunningError:
        turn.release()
    else:
        stack.callback(servers.stop)
