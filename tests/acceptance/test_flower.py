"""Promise: an operator finds an orchestration in Flower by its id, and nobody controls anything from there."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import psycopg
import pytest
from flower.urls import handlers

from tests.acceptance.flower_service import Watched, watched
from tests.eventually import assert_eventually

CARRIED = {"interlock.agent_runs.execute", "interlock.aggregation.aggregate", "interlock.dispatch.deliver"}


@pytest.fixture(scope="module")
def one(module_home: Path) -> Iterator[Watched]:
    """The service after its work."""
    with watched(module_home) as running:
        yield running


def test_nobody_is_let_in_without_the_password(one: Watched) -> None:
    """Auth is on by default: pages and API alike; a wrong password is none."""
    for path in ("/", "/tasks", "/broker", "/workers", "/api/tasks", "/api/workers", "/api/queues/length"):
        assert httpx2.get(one.url + path, trust_env=False).status_code == 401, path
        wrong = httpx2.get(one.url + path, auth=("operator", "operator"), trust_env=False)
        assert wrong.status_code == 401, path
        assert one.get(path).status_code == 200, path


def test_the_password_is_its_owners_and_in_no_process_arguments(one: Watched) -> None:
    """It is drawn once, mode 0600; neither ``ps`` nor a process's environment tells it."""
    assert len(one.password) >= 32
    assert stat.S_IMODE((one.home / "secrets" / "flower").stat().st_mode) == 0o600
    for pid in one.pids.values():
        process = psutil.Process(pid)
        assert not any(one.password in argument for argument in process.cmdline())
        assert not any(one.password in value for value in process.environ().values())
    assert not [file for file in (one.home / "logs").iterdir() if one.password in file.read_text()]


def test_every_orchestration_of_a_batch_is_found_by_its_id(one: Watched) -> None:
    """In what was sent and in what was done: at each step, all 64 of a batch."""
    for key in one.batch:
        found = one.tasks(key)
        sent = {task["name"] for task in found if key in str(task["args"])}
        done = {task["name"] for task in found if key in str(task["result"])}
        assert sent >= CARRIED, key
        assert done >= CARRIED | {"interlock.orchestration.advance"}, key


def test_a_result_says_how_many_of_its_members_failed(one: Watched) -> None:
    """A task that did its work has succeeded; what its members came to is in its text."""
    results = {str(task["name"]): str(task["result"]) for task in one.tasks(f"result:{one.failing}")}
    assert "runs, 0 failed" not in results["interlock.agent_runs.execute"]
    assert "failed" in results["interlock.agent_runs.execute"]
    assert "1 stages aggregated, 0 failed" in results["interlock.aggregation.aggregate"]
    assert "0 not confirmed" in results["interlock.dispatch.deliver"]


def test_tasks_show_ids_and_no_content(one: Watched) -> None:
    """Arguments and results are what Flower shows of messages: nothing of an event is in them."""
    for task in one.tasks(""):
        assert "It broke" not in f"{task['args']} {task['kwargs']} {task['result']}"
        assert task["kwargs"] in (None, "{}"), "None: it began before Flower listened"


def test_inspection_answers(one: Watched) -> None:
    """Workers tell what they serve and what they have done; the broker tells how long its queues are."""
    workers = _inspected(one)
    for name, worker in workers.items():
        assert worker["stats"]["total"], name
        assert worker["active_queues"], name
    lengths = one.get("/api/queues/length").json()["active_queues"]
    assert {queue["name"] for queue in lengths} >= {"ingestion", "agent_runs", "dispatch", "dead_letter"}


def test_every_route_that_would_change_anything_is_refused(one: Watched) -> None:
    """With the password, too. The routes are Flower's own list: a newer one with more of them is seen here."""
    before = _inspected(one)
    worker = next(iter(before))
    routes = [_route(handler) for handler in handlers if "post" in vars(_class(handler))]
    mutating = [route for route in routes if route.startswith("/api/")]
    assert set(routes) - set(mutating) <= {"/tasks/datatable", ".*"}, "these read"
    assert len(mutating) >= 14
    for route in mutating:
        path = route.replace("(.+)", worker if "/worker/" in route else "interlock.dispatch.deliver")
        answer = httpx2.post(
            one.url + path, auth=one.auth, json={"args": [[], ["orc_1"]]}, params=_WANTED, trust_env=False
        )
        assert answer.status_code == 403, f"{path}: {answer.text}"
        assert "Read only" in answer.text

    after = _inspected(one)
    assert {name: _shape(worker) for name, worker in after.items()} == {
        name: _shape(worker) for name, worker in before.items()
    }
    assert not one.tasks("args:orc_1]")
    with psycopg.connect(one.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)


_PARTS = {"stats", "active_queues"}
_WANTED = {"n": "3", "min": "1", "max": "9", "queue": "replay", "workername": "dispatch", "ratelimit": "1/h"}


def _inspected(one: Watched) -> dict[str, dict[str, dict[str, object]]]:
    """What every worker answers; Flower waits a second for their answers, and a busy machine may take longer."""
    answers: dict[str, dict[str, dict[str, object]]] = {}

    def all_answered() -> bool:
        answers.update(one.get("/api/workers", refresh="1").json())
        whole = {name.partition("@")[0] for name, worker in answers.items() if set(worker) >= _PARTS}
        return whole == {"orchestration", "agent_runs", "dispatch"}

    assert_eventually(all_answered, within=60, what="every worker is inspected")
    return answers


def _route(handler: object) -> str:
    pattern = handler[0] if isinstance(handler, tuple) else handler.regex.pattern  # type: ignore[attr-defined]
    return str(pattern).rstrip("$")


def _class(handler: object) -> type:
    found = handler[1] if isinstance(handler, tuple) else handler.handler_class  # type: ignore[attr-defined]
    assert isinstance(found, type)
    return found


def _shape(worker: dict[str, dict[str, object]]) -> object:
    """What control could have changed of a worker."""
    return worker["stats"]["pool"], worker["active_queues"]
