"""``up``, ``down`` and ``status``: the whole service on one machine."""

from __future__ import annotations

import json as json_text
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, TypedDict

import psutil
import typer
from rich.console import Console
from rich.table import Table

from app.cli.plan import SINK_VARIABLE, whole_service
from app.cli.provided_secrets import provide_flower_password, provide_secrets
from app.cli.stopping import stopping
from app.supervisor import flower_access, service
from app.supervisor.background import start_in_background
from app.supervisor.record import Recorded
from app.telemetry.readable import readable
from config import settings
from config.settings import CHECKOUT

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def up(
    json: Json = False,
    detach: Annotated[
        bool, typer.Option(help="Return when it is ready; it goes on in the background.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="Do not repeat the processes' output here.")] = False,
    raw: Annotated[bool, typer.Option(help="Repeat their lines as they are in the files: JSON.")] = False,
    flower: Annotated[bool, typer.Option(help="Run Flower, too.")] = True,
) -> None:
    """Run the whole service until Ctrl-C: servers, API, workers, beat and Flower; restart what dies.

    Repeats the processes' output in a form for people; logs/ in the run folder keeps it as JSON.

    On the embedded database the sink runs, too, unless INTERLOCK_DEMO_SINK_URL names another target.
    """
    chosen = settings.load()
    if detach:
        options = () if flower else ("--no-flower",)
        _show_listens(start_in_background(chosen.folder, CHECKOUT, options), as_json=json)
        return
    say = _drop if quiet or json else _print_raw if raw else _print_line
    with stopping() as stop:
        provide_secrets(chosen)
        if flower:
            provide_flower_password(chosen)
        with_sink = chosen.database_url is None and not os.environ.get(SINK_VARIABLE)
        plan = whole_service(chosen, with_flower=flower, with_sink=with_sink)
        whole = service.Service(plan, say=say, abandoned=stop)
        with whole:
            if not stop():
                _show_listens(whole.listens, as_json=json)
            while not stop():
                whole.tick()
                time.sleep(service.TICK_SECONDS)


def down(json: Json = False) -> None:
    """Stop the service of this run folder, and whatever a killed supervisor left behind."""
    names = service.down(settings.load().folder)
    if json:
        print(json_text.dumps({"stopped": names}))
    else:
        print(f"Stopped: {', '.join(names)}." if names else "Nothing was running.")


class _Row(TypedDict):
    name: str
    pid: int
    state: str
    uptime_seconds: float
    restarts: int
    memory_mb: float


def status(json: Json = False) -> None:
    """Show what runs in this run folder and where it listens. Exits with 1 when nothing runs."""
    folder = settings.load().folder
    record = service.recorded(folder)
    rows = [_row(entry) for entry in record.processes]
    running = bool(rows) and rows[0]["state"] == "running"
    if json:
        listens = dict(record.listens or {}) if running else {}
        print(
            json_text.dumps(
                {
                    "running": running,
                    "ready": running and record.ready,
                    "listens": listens,
                    **_flower_as_json(listens),
                    "processes": rows,
                }
            )
        )
    elif not rows:
        print(f"Nothing runs in {folder.home}. Start it with `python -m app up`.")
    else:
        _show_rows(rows, record.listens or {})
    if not running:
        raise typer.Exit(1)


def _print_line(name: str, line: str) -> None:
    sys.stdout.write(f"{readable(name, line)}\n")
    sys.stdout.flush()


def _print_raw(name: str, line: str) -> None:
    sys.stdout.write(f"{name:>14} | {line}\n")
    sys.stdout.flush()


def _drop(_name: str, _line: str) -> None:
    return


def _show_listens(listens: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json_text.dumps({"listens": listens, **_flower_as_json(listens)}), flush=True)
        return
    print("Interlock is up.", flush=True)
    for name, address in listens.items():
        print(f"  {name:<11} {_told(name, address)}", flush=True)
    print("Stop it with Ctrl-C, or `python -m app down`.", flush=True)


def _told(name: str, address: object) -> str:
    return f"{address} ({_flower_access()})" if name == "flower" else str(address)


def _flower_access() -> flower_access.Access:
    return flower_access.access(os.environ, settings.load().home)


def _flower_as_json(listens: Mapping[str, object]) -> dict[str, object]:
    return {"flower": asdict(_flower_access())} if "flower" in listens else {}


def _row(entry: Recorded) -> _Row:
    process = entry.find()
    return {
        "name": entry.name,
        "pid": entry.pid,
        "state": "gone" if process is None else "running",
        "uptime_seconds": round(time.time() - entry.created, 1) if process is not None else 0.0,
        "restarts": entry.restarts,
        "memory_mb": round(_memory_bytes(process, alone=entry.name == service.SUPERVISOR) / 1e6, 1)
        if process is not None
        else 0.0,
    }


def _memory_bytes(process: psutil.Process, *, alone: bool) -> int:
    """Proportional share (PSS) of a process and its descendants; resident size where there is no PSS."""
    total = 0
    try:
        family = [process] if alone else [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            memory = member.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += int(getattr(memory, "pss", memory.rss))
    return total


def _show_rows(rows: list[_Row], listens: object) -> None:
    table = Table("process", "pid", "state", "uptime", "restarts", "memory")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["pid"]),
            row["state"],
            f"{row['uptime_seconds']:.0f} s",
            str(row["restarts"]),
            f"{row['memory_mb']:.0f} MB",
        )
    console = Console()
    console.print(table)
    if isinstance(listens, dict):
        for name, address in listens.items():
            console.print(f"{name}: {_told(name, address)}", highlight=False, soft_wrap=True)
