"""The sink: a small HTTP target that honours idempotency keys and counts what it received and applied.

The demo, the tests and the benchmarks dispatch to it. It is its own process and knows nothing of Interlock
but the contract of an HTTP target::

    POST /v1/effects/<tool>     Idempotency-Key, Interlock-Tenant, Interlock-Orchestration, traceparent
        201 {"applied": true}   the first time
        200, Idempotent-Replayed: true   the same key with the same body again
        422                     the same key with another body
    GET /v1/keys/<key>          200 {"applied": true} when an effect was applied with the key, else 404
    GET /v1/counts              {"received", "applied", "repeated"}
    GET /v1/effects?limit=100   the effects applied, the newest first
    GET /healthz                200 when it listens
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Literal
from urllib.parse import parse_qs, unquote

Scope = MutableMapping[str, object]
Event = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

LARGEST_BODY = 1_000_000
_EFFECTS = "/v1/effects/"
_KEYS = "/v1/keys/"
_JSON = (b"content-type", b"application/json")
_REPLAYED = (b"idempotent-replayed", b"true")

Outcome = Literal["applied", "repeated", "conflict", "failed"]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the history file holds it, a JSON object a line."""

    number: int
    outcome: Outcome
    key: str
    tool: str
    tenant: str
    orchestration: str
    traceparent: str
    body_digest: str
    arguments: object
    at: float = 0.0
    """When it was there as a whole, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the sink treats its callers; other than the defaults only in tests.

    Args:
        honours_keys: whether a repeated key is recognised; otherwise each request is applied again.
        delay_seconds: how long each effect takes, between being received and being answered.
        fail_first: how many requests of each key are answered 503, with ``Retry-After: 0``, at first.
        hang_every: of so many requests, the last is applied and never answered; 0 answers all.
    """

    honours_keys: bool = True
    delay_seconds: float = 0.0
    fail_first: int = 0
    hang_every: int = 0


@dataclass(slots=True)
class Ledger:
    """What was received, in memory; with ``history``, also in an append-only file that outlives it.

    With ``with_answers`` the file also tells when the answer to a request was completely handed over, as a line
    ``{"answered": number, "at": seconds}``.
    """

    history: Path | None = None
    with_answers: bool = False
    received: int = 0
    applied: int = 0
    repeated: int = 0
    effects: deque[Received] = field(default_factory=lambda: deque(maxlen=100_000))
    bodies: dict[str, str] = field(default_factory=dict)
    """The digest of the body that each key was applied with."""
    refusals: dict[str, int] = field(default_factory=dict)
    _file: IO[str] | None = None

    def open(self) -> None:
        """Read what an earlier process left in the history, and append from there on."""
        if self.history is None:
            return
        self.history.parent.mkdir(parents=True, exist_ok=True)
        if self.history.exists():
            self._read(self.history)
        self._file = self.history.open("a", encoding="utf-8", buffering=1)

    def _read(self, history: Path) -> None:
        whole = 0
        with history.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    found = json.loads(line)
                    if "answered" not in found:
                        self._count(Received(**found))
                    whole += len(line)
        # A last line that a kill cut off was never answered, and must not run into the next one.
        os.truncate(history, whole)

    def close(self) -> None:
        """Close the history."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def record(self, entry: Received) -> None:
        """Count the request and append it to the history."""
        self._count(entry)
        self._append(asdict(entry))

    def answered(self, number: int) -> None:
        """The request of that number has its whole answer."""
        if self.with_answers:
            self._append({"answered": number, "at": time.time()})

    def _append(self, line: Mapping[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def _count(self, entry: Received) -> None:
        self.received += 1
        if entry.outcome == "applied":
            self.applied += 1
            self.bodies.setdefault(entry.key, entry.body_digest)
            self.effects.append(entry)
        elif entry.outcome == "repeated":
            self.repeated += 1


class Sink:
    """The ASGI application."""

    def __init__(self, ledger: Ledger, behaviour: Behaviour) -> None:
        self._ledger = ledger
        self._behaviour = behaviour

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server is run without lifespan and without websockets"
        path, method = str(scope["path"]), str(scope["method"])
        if method == "POST" and path.startswith(_EFFECTS):
            await self._effect(unquote(path[len(_EFFECTS) :]), _headers(scope), receive, send)
        elif method == "GET" and path.startswith(_KEYS):
            applied = path[len(_KEYS) :] in self._ledger.bodies
            await _answer(send, 200 if applied else 404, {"applied": applied})
        elif method == "GET" and path == "/v1/counts":
            ledger = self._ledger
            counts = {"received": ledger.received, "applied": ledger.applied, "repeated": ledger.repeated}
            await _answer(send, 200, counts)
        elif method == "GET" and path == "/v1/effects":
            newest = islice(reversed(self._ledger.effects), _limit(scope))
            await _answer(send, 200, {"effects": [asdict(entry) for entry in newest]})
        elif method == "GET" and path == "/healthz":
            await _answer(send, 200, {"status": "ok"})
        else:
            await _answer(
                send, 404, {"code": "not_found", "detail": f"{method} {path} is nothing that the sink has."}
            )

    async def _effect(self, tool: str, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        key = headers.get("idempotency-key", "")
        if body is None:
            await _answer(
                send, 413, {"code": "too_large", "detail": f"The body exceeds {LARGEST_BODY} bytes."}
            )
            return
        try:
            arguments: object = json.loads(body)
        except ValueError:
            await _answer(send, 400, {"code": "not_json", "detail": "The body is not JSON."})
            return
        if not key:
            await _answer(send, 400, {"code": "no_key", "detail": "The Idempotency-Key header is missing."})
            return
        outcome, entry = self._take(tool, key, headers, body, arguments)
        if self._behaviour.delay_seconds > 0:
            await asyncio.sleep(self._behaviour.delay_seconds)
        if self._hangs(entry):
            await _hung_up(receive)
            return
        await _answer_effect(send, outcome, entry)
        self._ledger.answered(entry.number)

    def _hangs(self, entry: Received) -> bool:
        return self._behaviour.hang_every > 0 and entry.number % self._behaviour.hang_every == 0

    def _take(
        self, tool: str, key: str, headers: Mapping[str, str], body: bytes, arguments: object
    ) -> tuple[Outcome, Received]:
        """Decide and record before anything is awaited: of two requests of one key only one is the first."""
        body_digest = hashlib.sha256(body).hexdigest()
        outcome = self._outcome(key, body_digest)
        entry = Received(
            number=self._ledger.received + 1,
            outcome=outcome,
            key=key,
            tool=tool,
            tenant=headers.get("interlock-tenant", ""),
            orchestration=headers.get("interlock-orchestration", ""),
            traceparent=headers.get("traceparent", ""),
            body_digest=body_digest,
            arguments=arguments,
            at=time.time(),
        )
        self._ledger.record(entry)
        return outcome, entry

    def _outcome(self, key: str, body_digest: str) -> Outcome:
        refused = self._ledger.refusals.get(key, 0)
        if refused < self._behaviour.fail_first:
            self._ledger.refusals[key] = refused + 1
            return "failed"
        first = self._ledger.bodies.get(key)
        if first is None or not self._behaviour.honours_keys:
            return "applied"
        return "repeated" if first == body_digest else "conflict"


async def _answer_effect(send: Send, outcome: Outcome, entry: Received) -> None:
    if outcome == "applied":
        await _answer(send, 201, {"applied": True})
    elif outcome == "repeated":
        await _answer(send, 200, {"applied": True}, [_REPLAYED])
    elif outcome == "conflict":
        detail = f"The key {entry.key} was used before with another body."
        await _answer(send, 422, {"code": "key_reused", "detail": detail})
    else:
        await _answer(send, 503, {"code": "unavailable", "detail": "Told to fail."}, [(b"retry-after", b"0")])


async def _hung_up(receive: Receive) -> None:
    """Until whoever asked has enough of waiting."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def _answer(
    send: Send, status: int, body: Mapping[str, object], headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    content = json.dumps(body).encode()
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive) -> bytes | None:
    """The request's body, or None when it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        part = event.get("body", b"")
        assert isinstance(part, bytes)
        size += len(part)
        if size <= LARGEST_BODY:
            parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts) if size <= LARGEST_BODY else None


def _headers(scope: Scope) -> dict[str, str]:
    pairs = scope["headers"]
    assert isinstance(pairs, list)
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


def _limit(scope: Scope) -> int:
    query = scope["query_string"]
    assert isinstance(query, bytes)
    text = parse_qs(query.decode("latin-1")).get("limit", ["100"])[0]
    return min(int(text), 100_000) if text.isdecimal() and len(text) < 10 else 100
