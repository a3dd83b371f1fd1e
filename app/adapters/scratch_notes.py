"""What a long comparison has to remember, in a temporary SQLite file: bounded memory, however much there is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from app.data_plane.audit.chains import Run

_TABLES = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, orchestration_id TEXT, tenant_id TEXT, length INTEGER, hash TEXT)
    WITHOUT ROWID;
CREATE TABLE removed (chain_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_THESE = "IN (SELECT value FROM json_each(?))"


class ScratchNotes:
    """``Notes``, gone with the ``with`` block."""

    def __init__(self) -> None:
        # An empty name is SQLite's own temporary database: in memory until it is large, then in an unnamed file.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")

    def expect(self, runs: Iterable[Run]) -> None:
        """Remember runs that orchestrations call for."""
        self._database.executemany(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
            ((run.run_id, run.orchestration_id, run.tenant_id, run.length, run.hash) for run in runs),
        )

    def take(self, chain_ids: Sequence[str]) -> dict[str, Run]:
        """Those of the chains that are expected runs; they are not expected any more."""
        asked = [json.dumps(list(chain_ids))]
        found = self._database.execute(f"SELECT * FROM runs WHERE run_id {_THESE}", asked).fetchall()  # noqa: S608
        if found:
            self._database.execute(f"DELETE FROM runs WHERE run_id {_THESE}", asked)  # noqa: S608
        return {row[0]: Run(*row) for row in found}

    def left(self) -> Iterator[Run]:
        """The expected runs that nobody took."""
        for row in self._database.execute("SELECT * FROM runs ORDER BY run_id"):
            yield Run(*row)

    def remove(self, chain_ids: Iterable[str]) -> None:
        """Remember chains that retention removed."""
        self._database.executemany(
            "INSERT OR IGNORE INTO removed VALUES (?)", ((chain,) for chain in chain_ids)
        )

    def removed(self, chain_ids: Sequence[str]) -> set[str]:
        """Those of the chains that were."""
        asked = [json.dumps(list(chain_ids))]
        found = self._database.execute(f"SELECT chain_id FROM removed WHERE chain_id {_THESE}", asked)  # noqa: S608
        return {row[0] for row in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
