"""A workflow whose effect at one target fails until the target is repaired, while the other's is confirmed.

What happened is read from the sinks' own history files: it holds whatever the system under test believes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.data_plane.ingestion.accept import Submission
from app.data_plane.replay.request import Subject
from app.kernel.release import Release, Target
from config.settings import CHECKOUT
from interlock.envelope import Envelope
from tests.branching_workflow import branching_release
from tests.eventually import assert_eventually
from tests.system import RunningSystem

HEALTHY, BROKEN = "tracker", "pager"
"""The targets' names in the workflow and in the tenant's document."""


@dataclass(frozen=True, slots=True)
class Sink:
    """A sink's address, and what it wrote down of every request."""

    url: str
    history: Path

    def received(self) -> Counter[tuple[str, str]]:
        """How many requests there were, by key and by what became of them."""
        if not self.history.exists():
            return Counter()
        whole = [line for line in self.history.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        entries = [json.loads(line) for line in whole]
        return Counter((entry["key"], entry["outcome"]) for entry in entries)

    def applied(self) -> Counter[str]:
        """How many times each key was applied."""
        return Counter({key: n for (key, outcome), n in self.received().items() if outcome == "applied"})


@contextmanager
def sink(history: Path, *options: str) -> Iterator[Sink]:
    """A sink that writes its history there, until the block ends."""
    history.parent.mkdir(parents=True, exist_ok=True)
    output = history.with_suffix(".log")
    arguments = ["sink", "--history", str(history), *options]
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments], cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        assert_eventually(lambda: b"\n" in output.read_bytes(), what=f"the sink of {history.name}")
        yield Sink(output.read_text().splitlines()[0], history)
    finally:
        process.terminate()
        process.wait(10)


@dataclass(frozen=True, slots=True)
class Repairs:
    """Both sinks: of each key the broken one refuses as many requests as an action may make, then it is repaired."""

    healthy: Sink
    broken: Sink
    documents: Path
    """The demo's tenant with these sinks as its targets, and nothing else."""


@contextmanager
def repairs(folder: Path, *options: str, attempts: int = 1) -> Iterator[Repairs]:
    """Two sinks and their tenant's document, until the block ends; ``options`` are the broken one's."""
    chosen = options or ("--fail-first", str(attempts))
    with (
        sink(folder / "healthy.jsonl") as healthy,
        sink(folder / "broken.jsonl", *chosen) as broken,
    ):
        document = folder / "documents" / "tenants" / "demo" / "1" / "tenant.yaml"
        document.parent.mkdir(parents=True)
        shipped = (CHECKOUT / "config" / "tenants" / "demo" / "1" / "tenant.yaml").read_text()
        targets = "".join(
            f"  {name}: {{url: '{one.url}', allow: [127.0.0.0/8]}}\n"
            for name, one in ((HEALTHY, healthy), (BROKEN, broken))
        )
        document.write_text(shipped.partition("targets:")[0] + "targets:\n" + targets)
        yield Repairs(healthy, broken, folder / "documents")


def repairable_release(attempts: int = 1, **promises: object) -> Release:
    """The branching workflow, whose broken target is given up after so many attempts and ``promises`` as it is told."""
    release = branching_release()
    template = release.template
    broken = Target(name=BROKEN, **{"honours_keys": True, "max_attempts": attempts, **promises})  # type: ignore[arg-type]
    targets = tuple(broken if target.name == BROKEN else target for target in template.targets)
    return Release(
        template=template.model_copy(update={"targets": targets}),
        agents=release.agents,
        providers=release.providers,
        policy=release.policy,
        tools=release.tools,
    )


def events(*ids: str) -> list[Submission]:
    """An event of each id; each decision asks for an effect at both targets."""
    return [
        Submission(
            Envelope(
                id=name,
                source="/tests",
                type="dev.interlock.issue",
                tenantid="demo",
                dataschema="urn:interlock:schema:issue:2",
                data={"title": "high"},
            )
        )
        for name in ids
    ]


@contextmanager
def repair_shop(database_url: str, name: str) -> Iterator[tuple[RunningSystem, Repairs]]:
    """Workers, both sinks and a database of that name, for all tests of a module: each has events of its own."""
    server = database_url.replace("/interlock?", "/postgres?")
    folder = Path(tempfile.mkdtemp(prefix="interlock-test-"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE interlock")
        try:
            url = database_url.replace("/interlock?", f"/{name}?")
            with repairs(folder / "sinks") as sinks, RunningSystem(url, folder) as system:
                system.publish(repairable_release(), sinks.documents)
                system.start_workers()
                yield system, sinks
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            shutil.rmtree(folder, ignore_errors=True)


def give_up(system: RunningSystem, *ids: str) -> list[Subject]:
    """Accept an event of each id, and wait until their orchestrations are dead letters."""
    answers = system.accept(events(*ids))
    system.wait_until_all_ended()
    keys = [answer.orchestration_ids[0] for answer in answers]
    found = system.rows("SELECT DISTINCT status FROM orchestrations WHERE orchestration_id = ANY(%s)", [keys])
    assert found == [("dead_lettered",)]
    return [Subject("demo", key) for key in keys]
