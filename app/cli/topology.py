"""``python -m app topology``: the declared queues and processes, shown or written for another runner."""

from __future__ import annotations

import json as json_text
import shlex
from typing import Annotated

import typer

from config import settings, topology
from config.compose import document
from config.settings import Settings

commands = typer.Typer(help="The declared queues, and the processes that serve them.", no_args_is_help=True)


@commands.command()
def show(json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the worker processes of one machine and their command lines."""
    chosen = settings.load()
    lines = {group.name: topology.worker(group, chosen) for group in topology.ON_ONE_MACHINE}
    if json:
        print(json_text.dumps({name: list(line) for name, line in lines.items()}))
        return
    for name, line in lines.items():
        print(f"{name}: {shlex.join(line)}")


@commands.command()
def compose() -> None:
    """Write docker-compose.yml to standard output; this machine's own settings do not enter it."""
    print(document(Settings.model_construct()), end="")
