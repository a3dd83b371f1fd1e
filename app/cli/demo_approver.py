"""The demo's approver: a named person's stand-in who reads what waits for consent, and gives it."""

from __future__ import annotations

from dataclasses import dataclass

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Counts
from app.adapters.postgresql.reading_approvals import ApprovalReading, ListedApproval
from app.adapters.postgresql.releases import PostgresqlReleases
from app.adapters.postgresql.store import PostgresqlStore
from app.bootstrap import Telemetry, doorbells
from app.cli.demo_stage import TENANT, Stage
from app.cli.tools_at_hand import tools_at_hand
from app.data_plane.orchestration.approvals import Answer, give
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.replay.surroundings import policy_in_force
from app.kernel.clock import SystemClock
from app.kernel.errors import ConflictError

NAME = "demo-approver"
REASON = "The demo consents to whatever its own events lead to."
MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Consent:
    """One action that waited for a person, and who consented to it."""

    action_id: str
    orchestration_id: str
    name: str
    tool: str
    target: str
    actor: str


class DemoApprover:
    """Consents to what waits, through the same code as ``python -m app approvals approve``."""

    def __init__(self, stage: Stage) -> None:
        settings = stage.settings
        self._clock = SystemClock()
        self._tracing = Telemetry(settings).start_spans("command", role="interlock_worker", libraries=False)
        self._database = Database(settings.effective_database_url, "interlock_worker", size=1)
        self._releases = PostgresqlReleases(self._database, tools_at_hand())
        store = PostgresqlStore(self._database, self._clock)
        self._recorder = Recorder(store, self._releases, doorbells(settings))
        self.consents: list[Consent] = []

    def answer(self, counts: Counts) -> None:
        """Consent to everything that waits now; what was answered or ended meanwhile is passed over."""
        if not counts.orchestrations.get("awaiting_approval"):
            return
        for row in ApprovalReading(self._database, (TENANT,)).soonest(MOST_AT_ONCE):
            try:
                self._consent(row)
            except ConflictError:
                continue

    def close(self) -> None:
        """Give back the connection, when the spans are written."""
        self._tracing.shutdown()
        self._database.close()

    def _consent(self, row: ListedApproval) -> None:
        answer = Answer(
            tenant_id=row.tenant_id,
            orchestration_id=row.orchestration_id,
            action_id=row.action_id,
            consents=True,
            actor=NAME,
            reason=REASON,
            shown=row.action_digest,
            policy=policy_in_force(self._releases, row.workflow),
        )
        give(self._recorder, answer, self._clock.now)
        self.consents.append(
            Consent(row.action_id, row.orchestration_id, row.name, row.tool, row.target, NAME)
        )
