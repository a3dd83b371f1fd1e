"""The demo's own service: the whole one with its sink, in a run folder that it finds or makes empty."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from app.adapters.secrets import ReferencedSecrets
from app.cli.plan import whole_service
from app.control_plane.compile import newest_provider
from app.control_plane.documents import read_documents
from app.kernel.errors import ConflictError
from app.supervisor.children import Program
from app.supervisor.errors import AlreadyRunningError
from app.supervisor.run_folder import RunFolder
from app.supervisor.secrets_folder import draw_missing, references
from app.supervisor.service import Plan, wipe
from config.settings import CHECKOUT, Settings

TENANT = "demo"
MARKER = "this-is-a-demo"
"""A file in the run folder of a demo: only such a folder is ever emptied."""


class NotADemoFolderError(ConflictError):
    """The folder that the demo should run in holds something else."""

    code = "not_a_demo_folder"


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the demo needs to know of its service."""

    settings: Settings
    plan: Plan
    api: str
    sink: str
    webhook_secret: bytes


def clear(home: Path) -> None:
    """Make room for a demo: remove what the last one left.

    Raises:
        NotADemoFolderError: the folder holds something else; nothing is removed.
        AlreadyRunningError: another demo runs there, or somebody reads what the last one left.
    """
    marker = home / MARKER
    if home.exists() and not marker.exists() and any(home.iterdir()):
        raise NotADemoFolderError(
            f"{home} holds something else than an earlier demo, which this one would remove.",
            "Choose another folder with --home, such as a new one.",
        )
    home.mkdir(parents=True, exist_ok=True)
    marker.write_text("The next demo removes what is in this folder.\n")
    try:
        wipe(RunFolder(home))
    except AlreadyRunningError as error:
        raise AlreadyRunningError(
            error.what, "Wait for its end, or choose another folder with --home."
        ) from None


def prepare(home: Path, provider: str | None) -> Stage:
    """Choose ports, draw the tenant's secrets, and plan the processes; nothing is started.

    Raises:
        UnknownProviderError: no shipped document has that name.
    """
    documents = read_documents(CHECKOUT / "config")
    if provider is not None:
        newest_provider(documents, provider)
    api_port, sink_port = _free_ports(2)
    settings = Settings(home=home, api_port=api_port, sink_port=sink_port, database_url=None, redis_url=None)
    tenants = [held.model.tenant for held in documents.tenants.values()]
    draw_missing(home, references(tenants), {})
    tenant = next(item for item in tenants if item.name == TENANT)
    secret = ReferencedSecrets({}, home).resolve(tenant.webhook_secrets["github"][0])
    plan = whole_service(
        settings, with_flower=False, with_metrics=False, with_sink=True, durable=False, provider=provider
    )
    return Stage(
        settings,
        replace(
            plan,
            before=tuple(_within(program) for program in plan.before),
            programs=tuple(_within(program) for program in plan.programs),
        ),
        api=f"http://{settings.api_host}:{api_port}",
        sink=f"http://{settings.sink_host}:{sink_port}",
        webhook_secret=secret.encode(),
    )


def _within(program: Program) -> Program:
    """What the demo's processes see otherwise than this one: its own servers and secrets."""
    provided = [name for name in os.environ if name.startswith("INTERLOCK_SECRET_DEMO_")]
    replaced = ("INTERLOCK_DATABASE_URL", "INTERLOCK_REDIS_URL")
    return replace(program, env={**dict.fromkeys((*replaced, *provided), ""), **program.env})


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; held together, so that they differ."""
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(door.getsockname()[1]) for door in doors]
    finally:
        for door in doors:
            door.close()
