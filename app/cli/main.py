"""The command line's frame: which commands there are, and the one boundary where an error becomes words."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import traceback
from collections.abc import Sequence

import typer
from rich.console import Console

from app.kernel.errors import DefectError, InterlockError
from app.telemetry.redaction import redact
from config import settings

COMMANDS = {
    "up": "app.cli.service:up",
    "down": "app.cli.service:down",
    "status": "app.cli.service:status",
    "migrate": "app.cli.parts:migrate",
    "prepare": "app.cli.parts:prepare",
    "api": "app.cli.parts:api",
    "beat": "app.cli.parts:beat",
    "flower": "app.cli.parts:flower",
    "metrics": "app.cli.metrics:metrics",
    "demo": "app.cli.demo:demo",
    "projections": "app.cli.projections:projections",
    "audit": "app.cli.audit:audit",
    "retention": "app.cli.retention:retention",
    "submit": "app.cli.submit:submit",
    "runs": "app.cli.runs:runs",
    "actions": "app.cli.action_settling:actions",
    "approvals": "app.cli.approvals:approvals",
    "reviews": "app.cli.reviews:reviews",
    "dead-letters": "app.cli.dead_letter_replay:dead_letters",
    "replay": "app.cli.replay:replay",
    "releases": "app.cli.releases:releases",
    "providers": "app.cli.providers:providers",
    "budgets": "app.cli.budgets:budgets",
    "topology": "app.cli.topology:commands",
    "sink": "app.cli.sink:sink",
}
"""Each command's name and where it is: a function, or a typer.Typer that holds several."""


def build(names: Sequence[str]) -> typer.Typer:
    """The application with these commands; the modules of the others are not imported."""
    application = typer.Typer(
        name="interlock",
        help="Governed agent workflows on Celery.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @application.callback()
    def frame() -> None:
        """Makes a group of commands even of one."""

    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):
            application.add_typer(command, name=name)
        else:
            application.command(name)(command)
    return application


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 not understood, 130 on Ctrl-C."""
    # What a command cannot reach it says itself; the pool's own warnings would only repeat it.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = [arguments[0]] if arguments and arguments[0] in COMMANDS else list(COMMANDS)
    try:
        build(chosen)(args=arguments, prog_name="python -m app")
    except KeyboardInterrupt:
        sys.exit(130)
    except InterlockError as error:
        _tell(error, as_json="--json" in arguments)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the boundary: a defect becomes words, its trace a file
        _tell(_defect(error), as_json="--json" in arguments)
        sys.exit(1)


def _tell(error: InterlockError, *, as_json: bool) -> None:
    what, remedy = redact(error.what), redact(error.remedy)
    if as_json:
        shown = {"code": error.code, "what": what, "remedy": remedy, "fate": error.fate.value}
        print(json.dumps({"error": shown}), file=sys.stderr)
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]Failed:[/] {_plain(what)}")
    if remedy:
        console.print(f"[bold]What to do:[/] {_plain(remedy)}")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _defect(error: Exception) -> DefectError:
    """An error that nobody foresaw: its trace goes to the run folder, for whoever repairs it."""
    try:
        log = settings.load().folder.logs / "cli.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(redact("".join(traceback.format_exception(error))))
        where = f"Its trace is in {log}; please report it."
    except (OSError, InterlockError):
        where = "Please report it."
    return DefectError(f"A defect of Interlock's own: {type(error).__name__}.", where)
