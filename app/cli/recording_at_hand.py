"""What a person's decision is recorded with (a cancellation, a settlement), whether a service runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.adapters.postgresql.database import Database, Role
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.releases import PostgresqlReleases
from app.adapters.postgresql.store import PostgresqlStore
from app.cli.database_at_hand import database_at_hand
from app.cli.tools_at_hand import tools_at_hand
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.ports import Carrier, Queue, StageCanvas
from app.kernel.clock import SystemClock


class SilentCarrier:
    """Rings for nobody: what becomes due is found by the service's reconciler, if not now then when it starts."""

    def ring(self, queue: Queue) -> None:
        """See ``Carrier.ring``."""

    def publish(self, canvas: StageCanvas) -> None:
        """See ``Carrier.publish``."""


@dataclass(frozen=True, slots=True)
class AtHand:
    """The record, to read and to append to."""

    database: Database
    reading: Reading
    releases: PostgresqlReleases
    recorder: Recorder


@contextmanager
def recording_at_hand(
    tenant: str | None = None, *, role: Role = "interlock_api", carrier: Carrier | None = None
) -> Iterator[AtHand]:
    """The record in the database at hand; errors as in ``database_at_hand``.

    Args:
        role: what it is read and written under; only ``interlock_worker`` may add decisions.
        carrier: rings the queues of what becomes due; without one the service finds that by itself.
    """
    with database_at_hand(role, size=2) as database:
        releases = PostgresqlReleases(database, tools_at_hand())
        store = PostgresqlStore(database, SystemClock())
        recorder = Recorder(store, releases, carrier or SilentCarrier(), shortcut=carrier is not None)
        tenants = (tenant,) if tenant is not None else ()
        yield AtHand(database, Reading(database, tenants), releases, recorder)
