"""The demo's own service: the whole one, in a fresh run folder, with the sink beside it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.adapters.secrets import ReferencedSecrets
from app.cli.plan import whole_service
from app.control_plane.documents import read_documents
from app.supervisor.children import Program
from app.supervisor.secrets_folder import draw_missing, references
from app.supervisor.service import Listener, Plan
from config.settings import CHECKOUT, Settings

TENANT = "demo"
SINK_VARIABLE = "INTERLOCK_DEMO_SINK_URL"


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the demo needs to know of its service."""

    settings: Settings
    plan: Plan
    api: str
    sink: str
    webhook_secret: bytes


@contextmanager
def fresh_home(*, keep: bool) -> Iterator[Path]:
    """A run folder that is gone afterwards, unless it is kept."""
    home = Path(tempfile.mkdtemp(prefix="interlock-demo-"))
    try:
        yield home
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def prepare(home: Path) -> Stage:
    """Choose ports, draw the tenant's secrets, and plan the processes; nothing is started."""
    api_port, sink_port = _free_ports(2)
    settings = Settings(home=home, api_port=api_port, database_url=None, redis_url=None)
    tenants = [held.model.tenant for held in read_documents(CHECKOUT / "config").tenants.values()]
    draw_missing(home, references(tenants), {})
    tenant = next(item for item in tenants if item.name == TENANT)
    secret = ReferencedSecrets({}, home).resolve(tenant.webhook_secrets["github"][0])
    sink = Listener("sink", "127.0.0.1", sink_port, "INTERLOCK_SINK_PORT")
    plan = whole_service(settings, with_flower=False, durable=False)
    programs = (Program("sink", ("python", "-m", "app", "sink", "--port", str(sink_port))), *plan.programs)
    environment = _environment(sink.url)
    return Stage(
        settings,
        replace(
            plan,
            before=tuple(_within(program, environment) for program in plan.before),
            programs=tuple(_within(program, environment) for program in programs),
            listeners=(*plan.listeners, sink),
        ),
        api=f"http://{settings.api_host}:{api_port}",
        sink=sink.url,
        webhook_secret=secret.encode(),
    )


def _environment(sink: str) -> dict[str, str]:
    """What the demo's processes see otherwise than this one: its own servers, secrets and sink."""
    provided = [name for name in os.environ if name.startswith("INTERLOCK_SECRET_DEMO_")]
    replaced = ("INTERLOCK_DATABASE_URL", "INTERLOCK_REDIS_URL")
    return {**dict.fromkeys((*replaced, *provided), ""), SINK_VARIABLE: sink}


def _within(program: Program, environment: dict[str, str]) -> Program:
    return replace(program, env={**program.env, **environment})


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; held together, so that they differ."""
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(door.getsockname()[1]) for door in doors]
    finally:
        for door in doors:
            door.close()
