"""Keeps a process's redaction at what the tenants' documents say, from its start on and every few seconds."""

from __future__ import annotations

import logging
import threading

import psycopg

from app.adapters.postgresql.tenants import TenantDocuments
from app.kernel.errors import InterlockError
from app.telemetry.redaction import TenantPattern, install_patterns

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 10.0
START_SECONDS = 2.0
"""How long a process waits for the first reading before it goes on with what every tenant has in common."""


def learn_patterns(documents: TenantDocuments) -> bool:
    """Read the tenants' patterns once and install them; False, and what was known stays, when they are out of reach."""
    try:
        tenants = documents.all()
    except (InterlockError, psycopg.Error):
        return False
    refused = install_patterns(
        {
            name: [TenantPattern(one.name, one.keyword, one.pattern) for one in tenant.redaction.patterns]
            for name, tenant in tenants.items()
            if tenant.redaction is not None
        }
    )
    if refused:
        _log.error("patterns that cannot be used for redaction: %s", ", ".join(refused))
    return True


class PatternRefresh:
    """A thread that goes on learning; a daemon, as nothing is lost with it."""

    def __init__(self, documents: TenantDocuments, *, seconds: float = REFRESH_SECONDS) -> None:
        self._documents = documents
        self._seconds = seconds
        self._stopped = threading.Event()
        self._read_once = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redaction-patterns", daemon=True)

    def start(self) -> None:
        """Begin; returns when the patterns were read, or the database was too slow."""
        self._thread.start()
        self._read_once.wait(START_SECONDS)

    def stop(self) -> None:
        """End the thread, at once when it waits."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            learn_patterns(self._documents)
            self._read_once.set()
            self._stopped.wait(self._seconds)
