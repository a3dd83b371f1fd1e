"""Effects in doubt, through real workers: a target that acts and hangs is asked by itself; nothing is sent twice."""

from __future__ import annotations

from pathlib import Path

from app.kernel.release import Target
from config.settings import CHECKOUT
from tests.acceptance.test_canvases_and_sweeps import events
from tests.doubtful_workflow import doubtful_release
from tests.integration.sinks import a_sink
from tests.system import RunningSystem

EVENTS = 4
PAGER = Target(name="pager", timeout_seconds=0.5, probe_path="/v1/keys/{key}")


def documents(folder: Path, sink: str) -> Path:
    """The demo's tenant, whose pager is this sink."""
    document = folder / "documents" / "tenants" / "demo" / "1" / "tenant.yaml"
    document.parent.mkdir(parents=True)
    shipped = (CHECKOUT / "config" / "tenants" / "demo" / "1" / "tenant.yaml").read_text()
    pager = f"targets:\n  pager: {{url: '{sink}', allow: [127.0.0.0/8]}}\n"
    document.write_text(shipped.partition("targets:")[0] + pager)
    return folder / "documents"


def test_what_a_hanging_target_did_is_found_out_by_asking_it(fresh_database: str, home: Path) -> None:
    """Every second request is applied and never answered; each is settled by its target's own word."""
    home.joinpath("sink").mkdir()
    with (
        a_sink(home / "sink" / "log", "--no-honours-keys", "--act-then-hang-every", "2") as sink,
        RunningSystem(fresh_database, home, beat=True) as system,
    ):
        system.publish(doubtful_release(PAGER), documents(home, sink))
        system.accept(events(EVENTS))
        system.start_workers()
        system.wait_until_all_ended(within=120)
        assert system.count_by("orchestrations", "status") == {"completed": EVENTS}
        assert system.count_by("actions", "state") == {"confirmed": EVENTS // 2, "settled": EVENTS // 2}
        assert system.rows("SELECT DISTINCT reason FROM actions WHERE state = 'settled'") == [
            ("it was applied, says its target",)
        ]
        assert system.verify_all() == {}
