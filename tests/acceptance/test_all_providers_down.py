"""Every shipped workflow holds out when no model answers at all: its fallbacks decide, and the decision says so."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.adapters.postgresql.reading import Reading
from app.data_plane.ingestion.accept import Submission
from app.data_plane.replay.explain import Explanation, explain
from config.settings import CHECKOUT
from tests.acceptance.two_sinks import PATIENCE_SECONDS
from tests.system import RunningSystem
from tests.unit.golden.github_payloads import envelope_of

DOWN = "down"
SHIPPED = CHECKOUT / "config"
AGENTS = sorted(folder.name for folder in (SHIPPED / "agents").iterdir() if folder.is_dir())
WORKFLOWS = sorted(folder.name for folder in (SHIPPED / "workflows").iterdir() if folder.is_dir())
EVENTS = sorted((SHIPPED / "demo" / "events").glob("*.json"))


def documents_without_models(folder: Path) -> Path:
    """The shipped documents, and a provider that fails for every agent there is."""
    for kind in ("agents", "policies", "providers", "tenants", "workflows"):
        shutil.copytree(SHIPPED / kind, folder / "documents" / kind)
    down = folder / "documents" / "providers" / DOWN / "1"
    down.mkdir(parents=True)
    (down / "provider.yaml").write_text(f"kind: scripted\nname: {DOWN}\nversion: 1\n")
    for agent in AGENTS:
        (down / f"{agent}.yaml").write_text("rules:\n  - failure: {code: provider_unreachable}\n")
    return folder / "documents"


def told(system: RunningSystem) -> list[Explanation]:
    return [
        explain(view.record, system.services.releases.get(view.row.release))
        for view in Reading(system.services.database).all_views()
    ]


def test_every_shipped_workflow_decides_without_any_model(fresh_database: str, home: Path) -> None:
    """Promise: a typed decision, which is flagged, and the record names each provider that failed."""
    with RunningSystem(fresh_database, home, beat=True) as system:
        system.publish_shipped(documents_without_models(home), provider=DOWN)
        system.start_workers()
        system.accept([Submission(envelope_of(file)) for file in EVENTS])
        system.wait_until_all_ended(within=PATIENCE_SECONDS)

        explanations = told(system)
        assert {one.version.workflow.split("/")[0] for one in explanations} == set(WORKFLOWS)
        for one in explanations:
            assert one.status == "completed"
            assert one.decision.degraded
            assert one.decision.reason
            ran = [stage for stage in one.stages if stage.status == "decided"]
            assert ran
            assert all(stage.degraded for stage in ran)
            for voice in (voice for stage in ran for voice in stage.voices):
                assert voice.failure == f"provider_unavailable: {DOWN}: provider_unreachable"
                assert any("nobody was left to be asked" in sentence for sentence in voice.way)
        assert system.verify_all() == {}
