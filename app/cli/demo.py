"""``python -m app demo``: real webhooks through the whole service, in its own folder, to effects that are counted."""

from __future__ import annotations

import json as json_text
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.console import Console

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Counts, Reading, Wanted
from app.cli import demo_view
from app.cli.demo_approver import Consent, DemoApprover
from app.cli.demo_result import Seconds, Shown, read_result
from app.cli.demo_stage import TENANT, Stage, clear, prepare
from app.cli.stopping import Stop, stopping
from app.cli.webhook_feed import Answers, Webhook, read_folder, send
from app.kernel.errors import PermanentError, TransientError
from app.supervisor.service import TICK_SECONDS, Service
from config import settings
from config.settings import CHECKOUT

SHIPPED_EVENTS = CHECKOUT / "config" / "demo" / "events"
TIMES_EACH = 2
SEED = 20


class DemoStuckError(TransientError):
    """Not everything came to its end in time. Remedy: the logs of what is stuck."""

    code = "demo_stuck"


class EventsRefusedError(PermanentError):
    """The API refused events of the demo's folder."""

    code = "events_refused"


def demo(
    events: Annotated[
        Path | None, typer.Option(help="A folder of GitHub payloads; else the few that ship with Interlock.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(help="The run folder, which it empties; else INTERLOCK_HOME, else .interlock/demo."),
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Let this provider answer for every agent.")] = None,
    deadline: Annotated[float, typer.Option(help="Seconds that the events may take.", min=1.0)] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send every event twice through the three shipped workflows, and show what came of them.

    It leaves no process running; its data stays in the run folder until the next demo.
    """
    begin = time.monotonic()
    console = Console(quiet=json, highlight=False)
    webhooks = read_folder(events or SHIPPED_EVENTS)
    folder = _folder(home)
    with stopping() as stop:
        clear(folder)
        stage = prepare(folder, provider)
        with console.status("Starting PostgreSQL, Redis, the API, workers and the sink ..."):
            service = Service(stage.plan, abandoned=stop)
            service.start()
        started = time.monotonic()
        try:
            shown = None if stop() else _run(stage, service, webhooks, console, stop, deadline)
        finally:
            done = time.monotonic()
            with console.status("Stopping everything ..."):
                service.stop()
    if shown is None:
        raise typer.Exit(130)
    end = time.monotonic()
    shown.seconds = round(end - begin, 1)
    shown.phases = Seconds(started - begin, done - started, end - done)
    if json:
        print(json_text.dumps(shown.as_json()))
    else:
        demo_view.show(console, shown, folder)


def _folder(home: Path | None) -> Path:
    chosen = settings.load()
    if home is not None:
        return home.expanduser().absolute()
    return chosen.home if "home" in chosen.model_fields_set else chosen.home / "demo"


def _run(
    stage: Stage,
    service: Service,
    webhooks: tuple[Webhook, ...],
    console: Console,
    stop: Stop,
    deadline: float,
) -> Shown | None:
    """Feed, wait, and read the result; None when it was abandoned."""
    database = Database(stage.settings.effective_database_url, "interlock_api", size=2)
    reading = Reading(database, (TENANT,))
    answers = Answers(total=TIMES_EACH * len(webhooks))
    feeding = _Feeding(stage, webhooks, answers, stop)
    approver = DemoApprover(stage)
    end = time.monotonic() + deadline
    try:
        with demo_view.progress(console) as bars:
            feeding.start()
            while not stop():
                service.tick()
                counts = reading.counts()
                bars.update(answers, counts)
                feeding.check()
                approver.answer(counts)
                if (
                    feeding.done
                    and counts.under_way == 0
                    and not counts.orchestrations.get("awaiting_approval")
                ):
                    _refuse_the_refused(answers)
                    return _result(stage, database, counts, answers, approver.consents)
                if time.monotonic() > end:
                    raise _stuck(stage, reading, counts, answers, deadline)
                time.sleep(TICK_SECONDS)
        return None
    finally:
        feeding.abandon()
        approver.close()
        database.close()


class _Feeding:
    """Sends from a thread of its own: the service's owner must go on looking after its processes."""

    def __init__(
        self, stage: Stage, webhooks: tuple[Webhook, ...], answers: Answers, stop: Callable[[], bool]
    ) -> None:
        self._stage = stage
        self._webhooks = [item for item in webhooks for _ in range(TIMES_EACH)]
        random.Random(SEED).shuffle(self._webhooks)  # noqa: S311 - the same order each time, not a secret
        self._answers = answers
        self._stop = stop
        self._abandoned = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._send, name="webhooks")

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all were answered."""
        return self._answers.answered == self._answers.total

    def check(self) -> None:
        """Raise here what went wrong there."""
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Send no more, and wait for what is under way."""
        self._abandoned = True
        if self._thread.is_alive():
            self._thread.join()

    def _send(self) -> None:
        address = f"{self._stage.api}/v1/webhooks/{TENANT}/github"
        try:
            send(
                address,
                self._stage.webhook_secret,
                self._webhooks,
                self._answers,
                lambda: self._abandoned or self._stop(),
            )
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the main thread raises it
            self._failure = error


def _refuse_the_refused(answers: Answers) -> None:
    if answers.refused:
        raise EventsRefusedError(
            f"{len(answers.refused)} of {answers.total} webhooks were refused: "
            + "; ".join(sorted(set(answers.refused))[:3]),
            "Correct or remove those files.",
        )


def _result(
    stage: Stage, database: Database, counts: Counts, answers: Answers, consents: Sequence[Consent]
) -> Shown:
    sink = httpx2.get(f"{stage.sink}/v1/counts", timeout=5.0, trust_env=False).json()
    shown = read_result(database, TENANT, counts, answers, sink)
    shown.approvals = tuple(consents)
    return shown


def _stuck(
    stage: Stage, reading: Reading, counts: Counts, answers: Answers, deadline: float
) -> DemoStuckError:
    stuck = [
        f"{row.orchestration_id} ({row.workflow}, {row.status})"
        for row in reading.runs(Wanted(limit=1000))
        if row.closed_at is None
    ]
    return DemoStuckError(
        f"After {deadline:g} s {answers.total - answers.answered} webhooks are unanswered and"
        f" {counts.open_orchestrations} orchestrations open, such as {', '.join(stuck[:3]) or 'none'}.",
        f"Read {stage.settings.folder.logs}, or give it longer with --deadline.",
    )
