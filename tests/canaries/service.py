"""The whole service as ``python -m app up`` runs it, in a folder of its own, with that workflow's documents alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from app.supervisor import service
from app.supervisor.run_folder import RunFolder
from config.settings import CHECKOUT
from tests.canaries import documents
from tests.canaries.markers import Marker, marker
from tests.canaries.outside import Model, Outside, Target, outside
from tests.eventually import assert_eventually

API_KEY = "aviary-api-key-" + "q7" * 8
SIGNING_KEY = "aviary-signing-key-" + "w5" * 8
WEBHOOK_SECRET = "aviary-webhook-secret-" + "e3" * 8


@dataclass(frozen=True)
class Running:
    """A service that runs, and what is outside of it."""

    home: Path
    environment: Mapping[str, str]
    model: Outside
    target: Outside
    api: str
    flower: str

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.home)

    def redis(self) -> redis.Redis:
        """A client of the service's own Redis."""
        return redis.Redis.from_url(self.folder.redis_url)

    def database(self) -> psycopg.Connection:
        """A connection of the database's owner."""
        return psycopg.connect(self.folder.database_url, autocommit=True)

    def number(self, query: str) -> int:
        """The one number that a query gives."""
        with self.database() as connection:
            row = connection.execute(query.encode()).fetchone()
            return int(row[0]) if row is not None else 0

    def processes(self) -> dict[str, psutil.Process]:
        """Every process of the service by name, the servers too."""
        found = {}
        for entry in service.recorded(self.folder).processes:
            process = entry.find()
            if process is not None:
                found[entry.name] = process
        return found

    def end(self, name: str) -> None:
        """kill -9; the supervisor starts it again."""
        process = self.processes().get(name)
        if process is not None:
            process.send_signal(signal.SIGKILL)

    def command(self, *arguments: str) -> str:
        """What a command of ``python -m app`` prints, errors included."""
        (said,) = self.commands([arguments])
        return said

    def commands(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """What each of these commands prints."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.canaries.speaking"],
            input="".join(f"{json.dumps(list(command))}\n" for command in commands).encode(),
            cwd=CHECKOUT,
            env=dict(self.environment),
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def running(home: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    """The service, until the block ends."""
    with outside(Model) as model, outside(Target) as target:
        ports = _free_ports(5)
        whole = {
            **{name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")},
            "INTERLOCK_HOME": str(home),
            "INTERLOCK_API_PORT": str(ports[0]),
            "INTERLOCK_FLOWER_PORT": str(ports[1]),
            "INTERLOCK_SINK_PORT": str(ports[2]),
            "INTERLOCK_METRICS_PORT": str(ports[3]),
            "INTERLOCK_RECONCILE_SECONDS": "0.5",
            "INTERLOCK_LOG_LEVEL": "DEBUG",
            "INTERLOCK_TRACES_PER_SECOND": "1000",
            "INTERLOCK_TOOL_MODULES": documents.TOOLS,
            "INTERLOCK_CANARY_MODEL_URL": f"{model.url}/v1",
            "INTERLOCK_CANARY_MODEL_KEY": model_key().text,
            "INTERLOCK_CANARY_TARGET_URL": target.url,
            "INTERLOCK_CANARY_API_KEY": API_KEY,
            "INTERLOCK_CANARY_SIGNING_KEY": SIGNING_KEY,
            "INTERLOCK_CANARY_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "NO_PROXY": "127.0.0.1",
            **environment,
        }
        urls = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        with _up(home, whole):
            one = Running(home, whole, model, target, *urls)
            _publish(one)
            yield one


def model_key() -> Marker:
    """The key that the service shows the model's server."""
    return marker("openai key", "model's key")


@contextmanager
def _up(home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    said = home / "up.out"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "up"],
            cwd=CHECKOUT,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        assert_eventually(
            lambda: b"Interlock is up." in said.read_bytes() or process.poll() is not None,
            within=90,
            what="the service is up",
        )
        assert process.poll() is None, said.read_text(errors="replace")[-3000:]
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _publish(one: Running) -> None:
    folder = documents.write_documents(one.home.parent / "documents")
    published = one.command(
        *(
            "releases",
            "publish",
            "--folder",
            str(folder),
            "--actor",
            "tests",
            "--reason",
            "a test",
            "--route",
            "--json",
        )
    )
    assert json.loads(published.splitlines()[-1]).get("releases"), published
    with one.database() as connection:
        # The shipped workflows subscribe to the same events, and are not what is looked at here.
        connection.execute("DELETE FROM channels WHERE workflow <> %s", [documents.WORKFLOW])


def _free_ports(count: int) -> Sequence[int]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(door.getsockname()[1]) for door in doors]
    for door in doors:
        door.close()
    return ports
