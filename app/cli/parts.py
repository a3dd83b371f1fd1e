"""The parts of the service one by one, as containers start them: each is a step or becomes its program."""

from __future__ import annotations

import json as json_text
import os
from typing import Annotated

import typer

from app.supervisor import flower_access
from app.supervisor.children import Program
from config import settings, topology

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def migrate(json: Json = False) -> None:
    """Bring the database to this checkout's schema."""
    from app.adapters.postgresql.migrate import upgrade

    revision = upgrade(settings.load().effective_database_url)
    print(json_text.dumps({"revision": revision}) if json else f"The database is at revision {revision}.")


def prepare(
    provider: Annotated[str | None, typer.Option(help="Let this provider answer for every agent.")] = None,
) -> None:
    """Migrate, and publish the shipped documents into a database that has no release yet; in one process."""
    from app.cli.releases import login, publish

    migrate()
    publish(login(), if_empty=True, provider=provider)


def api() -> None:
    """Serve the HTTP API and the console in this process."""
    _become("api", topology.api(settings.load()))


def beat() -> None:
    """Run Celery's clock in this process."""
    chosen = settings.load()
    chosen.folder.run.mkdir(parents=True, exist_ok=True)
    _become("beat", topology.beat(chosen))


def flower() -> None:
    """Serve Flower in this process. Refuses to begin without a password."""
    chosen = settings.load()
    flower_access.basic_auth(os.environ, chosen.home)
    _become("flower", topology.flower(chosen))


def _become(name: str, command: topology.Command) -> None:
    argv = Program(name, command).command()
    os.execv(argv[0], argv)  # noqa: S606 - the command line is the topology's
