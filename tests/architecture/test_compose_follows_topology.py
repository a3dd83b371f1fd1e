"""docker-compose.yml is the declared topology, and each of its commands runs.

No container engine is needed: the file is read, and every service of ours is started as a local process with
the environment that the file gives it, except that servers are embedded and addresses this machine's.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from app.data_plane.ports import Queue
from app.supervisor.children import Children, Program
from app.supervisor.embedded import EmbeddedServers
from config import compose, topology
from config.settings import CHECKOUT, PREFIX, Settings
from tests.eventually import assert_eventually

FILE = CHECKOUT / "docker-compose.yml"
ONE_SHOT = ("migrate", "publish")
READY_WITHIN_SECONDS = 120.0


@dataclass(frozen=True)
class OurService:
    """A service of the file that runs our image."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    after: dict[str, str]


def _services() -> dict[str, OurService]:
    services = yaml.safe_load(FILE.read_text())["services"]
    return {
        name: OurService(
            name,
            tuple(service["command"]),
            dict(service["environment"]),
            {other: how["condition"] for other, how in service["depends_on"].items()},
        )
        for name, service in services.items()
        if service["image"] == "interlock"
    }


def test_the_file_is_what_the_topology_makes() -> None:
    """`make compose` writes it again."""
    assert FILE.read_text() == compose.document(Settings.model_construct())


def test_a_change_of_the_topology_changes_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: the file is not made from a copy."""
    monkeypatch.setattr(topology, "BY_QUEUE", topology.BY_QUEUE[1:])

    assert FILE.read_text() != compose.document(Settings.model_construct())


def test_each_queue_is_a_service_of_its_own_name_that_can_be_scaled() -> None:
    """``docker compose up --scale agent_runs=4`` needs the name, and no fixed container name or port."""
    services = yaml.safe_load(FILE.read_text())["services"]
    for queue in Queue:
        service = services[queue.value]
        command = service["command"]
        assert command[command.index("-Q") + 1] == queue.value
        assert "%h" in command[command.index("-n") + 1], "two containers need two node names"
        assert not {"ports", "container_name"} & set(service)


def test_the_file_sets_only_settings_that_exist() -> None:
    """A renamed setting would otherwise fall back to its default in containers alone."""
    for service in _services().values():
        ours = {name for name in service.environment if name.startswith(PREFIX)}
        assert {name.removeprefix(PREFIX).lower() for name in ours} <= set(Settings.model_fields)


def test_nothing_works_before_the_schema_and_the_documents_are_there() -> None:
    """Workers wait for the documents, the documents for the schema, the schema for the database."""
    services = _services()
    assert services["migrate"].after == {"postgresql": "service_healthy"}
    assert services["publish"].after == {"migrate": "service_completed_successfully"}
    for name in services.keys() - set(ONE_SHOT):
        assert services[name].after["publish"] == "service_completed_successfully"


@pytest.fixture
def servers(home: Path) -> Iterator[EmbeddedServers]:
    """Stand in for the file's PostgreSQL and Redis."""
    with EmbeddedServers(home / "servers", durable=False) as running:
        yield running


def test_every_services_command_runs_here(home: Path, servers: EmbeddedServers) -> None:
    """One-shots end well; workers consume, the API and Flower listen, beat ticks."""
    ports = {"api": _free_port(), "flower": _free_port(), "metrics": _free_port()}
    services = _services()
    children = Children(servers.folder, CHECKOUT)
    try:
        for name in ONE_SHOT:
            children.run(_here(services.pop(name), home, servers, ports))
        for service in services.values():
            children.start(_here(service, home, servers, ports))
        for name in services:
            assert_eventually(
                lambda name=name: _is_up(name, children, ports),  # type: ignore[misc]
                within=READY_WITHIN_SECONDS,
                what=f"{name} is up ({children.last_words(name)})",
            )
        assert set(children.pids()) == set(services)
    finally:
        children.stop()


def _here(service: OurService, home: Path, servers: EmbeddedServers, ports: dict[str, int]) -> Program:
    environment = service.environment | {
        f"{PREFIX}HOME": str(home),
        f"{PREFIX}DATABASE_URL": servers.database_url,
        f"{PREFIX}REDIS_URL": servers.redis_url,
        f"{PREFIX}METRICS_HOST": "127.0.0.1",
    }
    if service.name in ports:
        environment[f"{PREFIX}{service.name.upper()}_HOST"] = "127.0.0.1"
        environment[f"{PREFIX}{service.name.upper()}_PORT"] = str(ports[service.name])
    return Program(service.name, service.command, environment)


def _is_up(name: str, children: Children, ports: dict[str, int]) -> bool:
    if name in ports:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", ports[name])) == 0
    said = children.log_of(name).read_text()
    return "beat: Starting" in said if name == "beat" else f"{name}@" in said and " ready." in said


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_image_installs_exact_requirements_and_runs_as_an_ordinary_user() -> None:
    """The service is installed from hashes, and the checkout over it without dependencies."""
    lines = (CHECKOUT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.txt" in lines
    assert "--no-deps --no-build-isolation -e ." in lines
    assert lines.rindex("USER interlock") > lines.rindex("RUN ")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-local.txt"])
def test_requirements_are_exact_hashed_and_name_no_host(name: str) -> None:
    """They must install from whatever index a machine is given, and only what was locked."""
    text = (CHECKOUT / name).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#", "-"))]
    assert packages
    assert all("==" in line and line.endswith("\\") for line in packages)


def test_celery_knows_the_queues_that_the_topology_declares() -> None:
    """With ``task_create_missing_queues`` off, a queue known to one side only would refuse its messages."""
    script = "from tasks import celery; print(*sorted(celery.amqp.queues))"
    program = Program("queues", ("python", "-c", script))

    said = subprocess.run(program.command(), cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout

    assert said.split() == sorted(queue.value for queue in Queue)
