"""``python -m app submit``: events from files to the running API, as any sender would send them."""

from __future__ import annotations

import hashlib
import json as json_text
import os
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import WAITS_FOR_PEOPLE, Reading
from app.adapters.postgresql.tenants import TenantDocuments
from app.adapters.secrets import ReferencedSecrets
from app.cli.webhook_feed import Webhook, webhook
from app.control_plane.tenants import Tenant
from app.kernel.errors import NotFoundError, PermanentError, TransientError
from app.kernel.facts import TERMINAL
from config import settings
from config.settings import Settings
from interlock import strict_json
from interlock.canonical import JsonValue
from interlock.envelope import Envelope, from_json
from interlock.errors import InvalidInputError
from interlock.http_binding import to_structured

TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.2


class NotAnEventError(PermanentError):
    """A file is neither a CloudEvent nor a GitHub payload."""

    code = "not_an_event"


class StillRunningError(TransientError):
    """The orchestrations did not end in time."""

    code = "still_running"


class RefusedError(PermanentError):
    """The API refused an event; code, reason and remedy are the API's."""

    def __init__(self, where: str, answer: dict[str, object]) -> None:
        super().__init__(f"{where}: {answer.get('detail', 'refused')}", str(answer.get("remedy", "")))
        self.code = str(answer.get("code", "refused"))


class ApiUnavailableError(TransientError):
    """Nothing answers at the API's address, or it answers 5xx."""

    code = "api_unavailable"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the command line says of an event whose file does not."""

    tenant: str
    type: str | None
    source: str | None
    id: str | None
    schema: str | None
    github_event: str | None


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the API answered for one file."""

    file: str
    event_id: str
    state: str
    orchestrations: tuple[str, ...]


def submit(
    files: Annotated[list[Path], typer.Argument(help="JSON files; - reads standard input.")],
    tenant: Annotated[str, typer.Option(help="Whose event it is.")] = "demo",
    event_type: Annotated[str | None, typer.Option("--type", help="The CloudEvent's type.")] = None,
    source: Annotated[str | None, typer.Option(help="The CloudEvent's source.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="The event's id; else derived.")] = None,
    schema: Annotated[
        str | None, typer.Option(help="The data's schema, as urn:interlock:schema:issue:2.")
    ] = None,
    github_event: Annotated[
        str | None, typer.Option("--github-event", help="The file is GitHub's payload of this event.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the orchestrations' end.")] = False,
    deadline: Annotated[float, typer.Option(help="Seconds that --wait waits at most.", min=0.1)] = 60.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the files and show the events.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send CloudEvents, or GitHub payloads as signed webhooks, to the running API.

    A file is a CloudEvent, its data alone (with --type and --source), or a GitHub payload: with --github-event, or
    as {"x_github_event": ..., "payload": ...}. Without --id the id is derived from the content: sent again, it is the
    same event.
    """
    if event_id is not None and len(files) > 1:
        raise NotAnEventError("One id was given for several files.", "Submit them one by one.")
    said = Attributes(tenant, event_type, source, event_id, schema, github_event)
    events = [(str(path), _read(path, said)) for path in files]
    if dry_run:
        _show_events(events, as_json=json)
        return
    chosen = settings.load()
    database = Database(chosen.effective_database_url, "interlock_api", size=1)
    try:
        submitted = _send_all(events, chosen, _tenant(database, tenant))
        states = _wait(Reading(database, (tenant,)), submitted, deadline) if wait else {}
    finally:
        database.close()
    _show(submitted, states, as_json=json)


def _read(path: Path, said: Attributes) -> Envelope | Webhook:
    try:
        body = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise NotAnEventError(
            f"{path} cannot be read: {error.strerror}.", "Name a file that is there."
        ) from None
    try:
        held = strict_json.read(body)
        return _event(path, held, body, said)
    except InvalidInputError as error:
        raise NotAnEventError(f"{path}: {error.what}", error.remedy) from None


def _event(path: Path, held: JsonValue, body: bytes, said: Attributes) -> Envelope | Webhook:
    fields = held if isinstance(held, dict) else {}
    if said.github_event is not None:
        return webhook(path.stem, said.github_event, held, said.id)
    if fields.keys() == {"x_github_event", "payload"}:
        return webhook(path.stem, str(fields["x_github_event"]), fields["payload"], said.id)
    derived = said.id or str(uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(body).hexdigest()))
    given = {"id": said.id, "type": said.type, "source": said.source, "dataschema": said.schema}
    if "specversion" in fields:
        chosen = {name: value for name, value in given.items() if value is not None}
        whole = {"id": derived, "tenantid": said.tenant, **fields, **chosen}
        return from_json(whole)
    if said.type is None or said.source is None:
        raise NotAnEventError(
            f"{path} is no CloudEvent (it has no specversion).",
            "Give --type and --source for data alone, or --github-event for a payload of GitHub.",
        )
    attributes = {"specversion": "1.0", "id": derived, "tenantid": said.tenant}
    return from_json({**attributes, **{name: value for name, value in given.items() if value}, "data": held})


def _tenant(database: Database, name: str) -> Tenant:
    tenant = TenantDocuments(database).all().get(name)
    if tenant is None:
        raise NotFoundError(
            f"There is no published tenant {name!r}.", "Publish its document, or name another."
        )
    return tenant


def _send_all(
    events: Sequence[tuple[str, Envelope | Webhook]], chosen: Settings, tenant: Tenant
) -> tuple[Submitted, ...]:
    secrets = ReferencedSecrets(os.environ, chosen.home)
    address = f"http://{chosen.api_host}:{chosen.api_port}/v1"
    submitted: list[Submitted] = []
    with httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        for file, event in events:
            if isinstance(event, Webhook):
                secret = secrets.resolve(
                    _first(tenant, tenant.webhook_secrets.get("github", ()), "webhook secret")
                )
                url, body = f"{address}/webhooks/{tenant.name}/github", event.body
                headers = event.headers(secret.encode())
            else:
                message = to_structured(event)
                key = secrets.resolve(_first(tenant, tenant.api_keys, "API key"))
                url, body = f"{address}/events", message.body
                headers = {**message.headers, "authorization": f"Bearer {key}"}
            submitted.append(_send(client, file, url, body, headers))
    return tuple(submitted)


def _first(tenant: Tenant, references: Sequence[str], what: str) -> str:
    if not references:
        raise NotFoundError(
            f"The tenant {tenant.name} has no {what}.", "Publish a document of it that names one."
        )
    return references[0]


def _send(client: httpx2.Client, file: str, url: str, body: bytes, headers: dict[str, str]) -> Submitted:
    try:
        response = client.post(url, content=body, headers=headers)
        answer = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise ApiUnavailableError(
            f"The API does not answer at {url} ({type(error).__name__}); {file} was not accepted.",
            "Start it with `python -m app up`, or set INTERLOCK_API_HOST and INTERLOCK_API_PORT.",
        ) from None
    if response.status_code != 202:
        raise RefusedError(file, answer)
    return Submitted(file, answer["event_id"], answer["state"], tuple(answer["orchestrations"]))


def _wait(reading: Reading, submitted: Sequence[Submitted], seconds: float) -> dict[str, str]:
    """The states of all orchestrations, once they are terminal or wait for a person. Raises StillRunningError."""
    ids = [key for item in submitted for key in item.orchestrations]
    end = time.monotonic() + seconds
    while True:
        states = reading.states(ids)
        running = [key for key, state in states.items() if state not in TERMINAL | WAITS_FOR_PEOPLE]
        if not running and len(states) == len(set(ids)):
            return states
        if time.monotonic() > end:
            raise StillRunningError(
                f"After {seconds:g} s {len(running)} orchestrations are open, such as {', '.join(running[:3])}.",
                "The events are accepted and nothing is lost; look at `python -m app status` and `runs show ID`.",
            )
        time.sleep(POLL_SECONDS)


def _show(submitted: Sequence[Submitted], states: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json_text.dumps({"events": [asdict(item) for item in submitted], "states": states}))
        return
    for item in submitted:
        print(f"{item.file}: {item.state}, event {item.event_id}")
        for key in item.orchestrations:
            print(f"  {key} {states.get(key, '')}".rstrip())
    if any(item.orchestrations for item in submitted):
        print("Look at one with: python -m app runs explain ID")
    if WAITS_FOR_PEOPLE.intersection(states.values()):
        print("What waits for a person: python -m app approvals list, reviews list")


def _show_events(events: Sequence[tuple[str, Envelope | Webhook]], *, as_json: bool) -> None:
    rows = [
        {"file": file, "id": event.guid, "type": f"com.github.{event.github_event}", "as": "webhook"}
        if isinstance(event, Webhook)
        else {"file": file, "id": event.id, "type": event.type, "as": "cloudevent"}
        for file, event in events
    ]
    if as_json:
        print(json_text.dumps({"events": rows, "dry_run": True}))
        return
    for row in rows:
        print(f"{row['file']}: would be sent as a {row['as']} of type {row['type']}, id {row['id']}")
