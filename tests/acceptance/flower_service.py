"""The whole service as ``up`` runs it, Flower included, and the work that Flower is to show.

One batch of 64 events, then one whose agents all fail. ``python -m tests.acceptance.flower_service FOLDER`` takes
pictures of its pages with headless Chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psycopg
import pytest

from app.cli.plan import whole_service
from app.cli.provided_secrets import provide_flower_password
from app.supervisor.service import Service
from config import settings
from tests.acceptance.test_all_providers_down import DOWN, documents_without_models
from tests.acceptance.test_submit import _free_ports
from tests.eventually import assert_eventually

BATCH = 64
API_KEY = "the-operators-key-of-the-demo"
_ISSUE = {"title": "It broke", "body": "It does not start", "author": "ada"}


@dataclass(frozen=True)
class Watched:
    """A running service, and what it was given to do."""

    home: Path
    url: str
    """Flower's."""
    password: str
    pids: dict[str, int]
    database_url: str
    batch: tuple[str, ...]
    """The orchestrations of one batch."""
    failing: str
    """One whose agents' models all fail."""

    @property
    def auth(self) -> tuple[str, str]:
        """Who is let in."""
        return "operator", self.password

    def get(self, path: str, **parameters: str) -> httpx2.Response:
        """What Flower answers an operator."""
        return httpx2.get(f"{self.url}{path}", params=parameters, auth=self.auth, timeout=30, trust_env=False)

    def tasks(self, search: str) -> list[dict[str, object]]:
        """The tasks that Flower finds by this text."""
        answer = self.get("/api/tasks", search=search)
        assert answer.status_code == 200, answer.text
        found: dict[str, dict[str, object]] = answer.json()
        return list(found.values())


@contextmanager
def watched(home: Path) -> Iterator[Watched]:
    """Run it in ``home``, let it do its work, and keep it running."""
    home.chmod(0o755)
    api, flower, sink = _free_ports(3)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "INTERLOCK_HOME": str(home),
            "INTERLOCK_API_PORT": api,
            "INTERLOCK_FLOWER_PORT": flower,
            "INTERLOCK_SINK_PORT": sink,
            "INTERLOCK_SECRET_DEMO_API_KEY": API_KEY,
            "INTERLOCK_LOG_LEVEL": "WARNING",
        }.items():
            environment.setenv(name, value)
        environment.delenv("FLOWER_BASIC_AUTH", raising=False)
        settings.load.cache_clear()
        chosen = settings.load()
        provide_flower_password(chosen)
        try:
            with Service(whole_service(chosen, with_sink=True, durable=False)) as service:
                yield _worked(home, service, int(api))
        finally:
            settings.load.cache_clear()


def _worked(home: Path, service: Service, api: int) -> Watched:
    password = (home / "secrets" / "flower").read_text().strip()
    listens = service.listens
    one = Watched(home, listens["flower"], password, service.pids(), listens["postgresql"], (), "")
    workers = {f"{name}@" for name in ("orchestration", "agent_runs", "dispatch")}

    def sees_all_workers() -> bool:
        seen = one.get("/api/workers", status="1").json()
        return workers <= {f"{name.partition('@')[0]}@" for name, alive in seen.items() if alive}

    # Flower shows only what it has heard of: the work begins when it listens.
    assert_eventually(sees_all_workers, within=60, what="Flower hears of every worker")
    batch = _send(api, [_event(f"batch-{number}") for number in range(BATCH)])
    _wait_until_ended(one.database_url)
    _let_models_fail(home)
    failing = _send(api, [_event("failing")])
    _wait_until_ended(one.database_url)
    return Watched(home, one.url, password, one.pids, one.database_url, batch, failing[0])


def _let_models_fail(home: Path) -> None:
    publish = ("releases", "publish", "--route", "--provider", DOWN, "--reason", "a test's")
    subprocess.run(
        [sys.executable, "-m", "app", *publish, "--folder", str(documents_without_models(home))],
        cwd=settings.CHECKOUT,
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "INTERLOCK_HOME": str(home)},
    )


def _wait_until_ended(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        query = "SELECT count(*) FROM orchestrations WHERE closed_at IS NULL"
        assert_eventually(lambda: connection.execute(query).fetchone() == (0,), within=90, what="all ended")


def _send(api: int, events: list[dict[str, object]]) -> tuple[str, ...]:
    answer = httpx2.post(
        f"http://127.0.0.1:{api}/v1/events",
        content=json.dumps(events),
        headers={
            "Authorization": f"Bearer {API_KEY}",
            "content-type": "application/cloudevents-batch+json",
        },
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    return tuple(key for event in answer.json()["events"] for key in event["orchestrations"])


def _event(event_id: str) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/host",
        "type": "dev.interlock.issue",
        "tenantid": "demo",
        "datacontenttype": "application/json",
        "dataschema": "urn:interlock:schema:issue:2",
        "data": _ISSUE,
    }


def _picture(chromium: str, one: Watched, page: str, file: Path) -> None:
    with_password = one.url.replace("http://", f"http://operator:{one.password}@", 1)
    subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,900"),
            *("--virtual-time-budget=8000", f"--screenshot={file}", with_password + page),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
    )
    print(file)


def main(folder: Path) -> None:
    """Take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is needed and was not found: install `chromium`, or put it on the PATH.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="interlock-") as home, watched(Path(home)) as one:
        for name, page in {"tasks": "/tasks", "workers": "/workers", "broker": "/broker"}.items():
            _picture(chromium, one, page, folder.absolute() / f"flower-{name}.png")
        found = next(
            task for task in one.tasks(one.failing) if task["name"] == "interlock.agent_runs.execute"
        )
        _picture(chromium, one, f"/task/{found['uuid']}", folder.absolute() / "flower-task.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
