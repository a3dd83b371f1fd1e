"""A folder of GitHub payloads as signed webhooks: what GitHub would send, sent by several connections at once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.kernel.errors import PermanentError, TransientError
from interlock.canonical import JsonValue

CONNECTIONS = 8
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.1
TIMEOUT_SECONDS = 20.0


class UnreadablePayloadError(PermanentError):
    """A file holds no GitHub payload. Remedy: ``{"x_github_event": ..., "payload": {...}}``."""

    code = "unreadable_payload"


class NotDeliveredError(TransientError):
    """The API did not take a webhook, however often it was sent."""

    code = "not_delivered"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One delivery. Its GUID is derived, so that sending the same file again is the same event."""

    name: str
    github_event: str
    guid: str
    body: bytes

    def headers(self, secret: bytes) -> dict[str, str]:
        """GitHub's headers (docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers)."""
        return {
            "content-type": "application/json",
            "x-github-event": self.github_event,
            "x-github-delivery": self.guid,
            "x-hub-signature-256": f"sha256={hmac.new(secret, self.body, hashlib.sha256).hexdigest()}",
        }


@dataclass(slots=True)
class Answers:
    """What the API answered so far."""

    total: int
    states: dict[str, int] = field(default_factory=dict)
    orchestration_ids: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many were answered."""
        return sum(self.states.values()) + len(self.refused)


def webhook(name: str, github_event: str, payload: JsonValue, guid: str | None = None) -> Webhook:
    """The delivery of one payload."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    derived = uuid.uuid5(uuid.NAMESPACE_URL, f"{name}:{hashlib.sha256(body).hexdigest()}")
    return Webhook(name, github_event, guid or str(derived), body)


def read_folder(folder: Path) -> tuple[Webhook, ...]:
    """The webhooks of a folder, by file name. Raises UnreadablePayloadError."""
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise UnreadablePayloadError(
            f"There is no *.json file in {folder}.", 'Each file is {"x_github_event": ..., "payload": {...}}.'
        )
    return tuple(_read_file(path) for path in paths)


def _read_file(path: Path) -> Webhook:
    try:
        held = json.loads(path.read_bytes())
        return webhook(path.stem, str(held["x_github_event"]), held["payload"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadablePayloadError(
            f"{path} holds no GitHub payload ({type(error).__name__}).",
            'It must be {"x_github_event": ..., "payload": {...}}.',
        ) from None


def send(
    address: str, secret: bytes, webhooks: Sequence[Webhook], answers: Answers, abandoned: Callable[[], bool]
) -> None:
    """Send all of them, in order, over several connections; ``answers`` is filled as they come.

    Raises:
        NotDeliveredError: the API was not there, or answered 5xx, through all attempts.
    """
    asyncio.run(_send(address, secret, webhooks, answers, abandoned))


async def _send(
    address: str, secret: bytes, webhooks: Sequence[Webhook], answers: Answers, abandoned: Callable[[], bool]
) -> None:
    waiting = iter(webhooks)
    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:

        async def one_connection() -> None:
            for item in waiting:
                if abandoned():
                    return
                _note(item, await _deliver(client, address, item, secret), answers)

        await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))


async def _deliver(client: httpx2.AsyncClient, address: str, item: Webhook, secret: bytes) -> httpx2.Response:
    pause, problem = FIRST_PAUSE_SECONDS, ""
    for _ in range(ATTEMPTS):
        try:
            response = await client.post(address, content=item.body, headers=item.headers(secret))
        except httpx2.TransportError as error:
            problem = type(error).__name__
        else:
            if response.status_code < 500:
                return response
            problem = f"HTTP {response.status_code}"
        await asyncio.sleep(pause)
        pause *= 2
    raise NotDeliveredError(
        f"The API at {address} did not take {item.name} ({problem}, {ATTEMPTS} attempts).",
        "Check that the service is up (`python -m app status`) and read logs/api.log in its run folder.",
    )


def _note(item: Webhook, response: httpx2.Response, answers: Answers) -> None:
    answer = response.json()
    if response.status_code != 202:
        answers.refused.append(f"{item.name}: {answer.get('code')}: {answer.get('detail')}")
        return
    state = str(answer["state"])
    answers.states[state] = answers.states.get(state, 0) + 1
    if state != "duplicate":
        answers.orchestration_ids += answer["orchestrations"]
