"""What happens while the sinks are open: secrets come in at every door, and everything that can fail does.

Nothing here asserts that a secret is hidden; that is the scan's part. What is asserted is that the scene took place:
a canary that never came in proves nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from interlock.canonical import JsonValue
from interlock.enqueue import Client
from interlock.envelope import Envelope
from tests.canaries.documents import TENANT
from tests.canaries.markers import KINDS, Marker, marker, planted
from tests.canaries.outside import WAYS
from tests.canaries.redis_watch import RedisWatch
from tests.canaries.service import API_KEY, SIGNING_KEY, WEBHOOK_SECRET, Running
from tests.eventually import assert_eventually

CONTENT_PLACES = (
    "title",
    "body",
    "nested value",
    "file name",
    "url in the data",
    "tool argument",
    "tool result",
    "model output",
    "rejected answer",
)
"""Where free text is planted, too: all of it is a payload's content."""

OTHER_PLACES = (
    "subject",
    "nested key",
    "name of an argument",
    "exception",
    "exception's cause",
    "provider error",
    "provider outage",
    "target's answer",
    "header",
    "query of a request",
    "refused event",
    "malformed body",
    "bad message",
    "webhook",
    "approval's comment",
    "denial's comment",
    "reason of a replay",
    "reason of a settlement",
    "reason of a review",
    "reason of a cancellation",
    "reason of an order",
    "model's key",
)

SECONDS = 120.0
_WORD = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass
class Played:
    """What took place."""

    events: int
    answers: Counter[int] = field(default_factory=Counter)
    """HTTP statuses of the API."""
    commands: dict[str, str] = field(default_factory=dict)
    """What commands printed."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How orchestrations ended."""
    killed: list[str] = field(default_factory=list)
    told: set[tuple[str, str]] = field(default_factory=set)
    """Place and kind of what people told commands, and of what a refused event was called."""
    waited: Mapping[str, bytes] = field(default_factory=dict)
    """What was in Redis meanwhile."""


def all_markers() -> list[Marker]:
    """Everything that may be planted anywhere."""
    content = [marker(kind, place) for place in CONTENT_PLACES for kind in KINDS]
    other = [marker(kind, place) for place in OTHER_PLACES for kind in KINDS]
    return content + other


def play(one: Running, events: int, *, encrypt: bool) -> Played:
    """Let it all happen: ``events`` orchestrations and everything around them.

    Args:
        encrypt: whether the client seals what it puts on the broker.
    """
    played = Played(events)
    with RedisWatch(one) as watch:
        _send_while_nobody_works(one, played, events, encrypt)
        _kill_while_they_work(one, played)
        _send_what_is_refused(one, played)
        _send_bad_messages(one)
        _wait_for_people(one)
        _let_people_answer(one, played)
        _wait_for_the_end(one)
        _let_people_repair(one, played)
        _wait_for_the_end(one)
        played.waited = watch.seen()
    with one.database() as connection:
        rows = connection.execute("SELECT status, count(*) FROM orchestrations GROUP BY 1").fetchall()
        played.statuses = dict(rows)
    return played


def event(number: int) -> Envelope:
    """The event of that number: a secret in each of its places, of a kind that its number chooses."""
    way = WAYS[number % len(WAYS)]
    inside = [planted(place, number, content=True).text for place in CONTENT_PLACES[:5]]
    data: dict[str, JsonValue] = {
        "kind": "issue",
        "number": number,
        "title": f"canary {number} {way} {inside[0]}",
        "body": f"Look at {inside[1]}, please.\n> it says {inside[2]}",
        "author": "ada",
        "state": "open",
        "labels": [f"https://files.test/{inside[3]}/report.txt", inside[4]],
    }
    return Envelope(
        id=f"canary-{number}",
        source="/canaries",
        type="dev.interlock.issue",
        tenantid=TENANT,
        dataschema="urn:interlock:schema:issue:2",
        subject=planted("subject", number, content=False).text.replace("\n", " "),
        data=data,
    )


def _send_while_nobody_works(one: Running, played: Played, events: int, encrypt: bool) -> None:
    """Half over HTTP and half over the broker, all of them waiting in Redis for a while."""
    workers = [one.processes()[name] for name in ("orchestration", "agent_runs", "dispatch")]
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        client = Client(one.folder.redis_url, TENANT, SIGNING_KEY.encode(), encrypt=encrypt)
        for number in range(events):
            if number % 2:
                client.publish(event(number))
            else:
                played.answers[_post(one, event(number).to_bytes(), number).status_code] += 1
        client.close()
        with one.redis() as waiting:
            assert waiting.llen("ingestion") >= events // 2
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)


def _post(one: Running, body: bytes, number: int, **more: str) -> httpx2.Response:
    headers = {
        "authorization": f"Bearer {API_KEY}",
        "content-type": "application/cloudevents+json",
        "x-forwarded-secret": planted("header", number, content=False).text.replace("\n", " "),
        "cookie": f"session={planted('header', number + 1, content=False).text}".replace("\n", " "),
        **more,
    }
    query = planted("query of a request", number, content=False).text
    return httpx2.post(
        f"{one.api}/v1/events", params={"next": query}, content=body, headers=headers, trust_env=False
    )


def _send_what_is_refused(one: Running, played: Played) -> None:
    for number in range(len(KINDS)):
        refusal = planted("refused event", number, content=False)
        text = refusal.text
        # What a type or a path cannot hold as it is would not keep the shape that tells a secret.
        word = text if _WORD.fullmatch(text) else "nothing"
        if word == text:
            played.told.add((refusal.place, refusal.kind))
        refused = json.loads(event(number).to_bytes())
        body = {**refused, "id": f"refused-{number}", "type": f"dev.interlock.issue.{word}"}
        played.answers[_post(one, json.dumps(body).encode(), number).status_code] += 1
        wrong = {**refused, "id": f"wrong-{number}", "data": {"kind": "issue", "title": {text: text}}}
        played.answers[_post(one, json.dumps(wrong).encode(), number).status_code] += 1
        malformed = planted("malformed body", number, content=False).text
        played.answers[
            _post(one, b'{"specversion": "1.0", "data": "' + malformed.encode(), number).status_code
        ] += 1
        unknown = f"Bearer {text}".replace("\n", " ")
        played.answers[_post(one, b"{}", number, authorization=unknown).status_code] += 1
        played.answers[_webhook(one, number).status_code] += 1
        httpx2.get(f"{one.api}/v1/nothing/{word}", trust_env=False)
    assert not {500, 502} & set(played.answers), played.answers
    assert {202, 401, 422} & set(played.answers), played.answers


def _webhook(one: Running, number: int) -> httpx2.Response:
    """A push from GitHub that holds secrets in values and in keys, and that nobody subscribes to."""
    text, key = (planted(place, number, content=False).text for place in ("webhook", "nested key"))
    body = json.dumps({"ref": text, "commits": [{"message": text, key: {key: [text]}}]}).encode()
    digest = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "x-github-event": "push",
        "x-github-delivery": str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        "x-hub-signature-256": f"sha256={digest}",
    }
    return httpx2.post(
        f"{one.api}/v1/webhooks/{TENANT}/github", content=body, headers=headers, trust_env=False
    )


def _send_bad_messages(one: Running) -> None:
    """What no client of ours sends: its plain text is in Redis until a worker takes it, which it does at once."""
    with one.redis() as broker:
        for number, message in enumerate(_bad_messages()):
            broker.lpush(("ingestion", "agent_runs", "dispatch")[number % 3], message)
    assert_eventually(
        lambda: (
            one.number("SELECT count(*) FROM dead_letters WHERE message_digest <> ''") >= 3 * len(KINDS) // 2
        ),
        within=SECONDS,
        what="bad messages became dead letters",
    )


def _bad_messages() -> Iterator[bytes]:
    for number in range(len(KINDS)):
        text = planted("bad message", number, content=False).text
        yield text.encode()
        yield _wire({"task": text, "id": str(uuid.uuid4()), "argsrepr": text}, [text])
        task = {"task": "interlock.ingestion.accept", "id": str(uuid.uuid4())}
        yield _wire(
            task, [{"format": 1, "envelope": text, "workflow": text, "key_id": text, "signature": text}]
        )


def _wire(headers: Mapping[str, object], arguments: Sequence[object]) -> bytes:
    """A message as kombu puts it into a list."""
    body = base64.b64encode(json.dumps([arguments, {}, {}]).encode()).decode()
    properties = {
        "delivery_tag": str(uuid.uuid4()),
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "ingestion"},
        "priority": 0,
        "body_encoding": "base64",
    }
    return json.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    ).encode()


def _kill_while_they_work(one: Running, played: Played) -> None:
    """kill -9 of the worker that waits for models that hang, and of the one that dispatches."""
    assert_eventually(lambda: one.model.seen["hang"] > 0, within=SECONDS, what="a model that hangs is asked")
    for name in ("agent_runs", "dispatch", "orchestration"):
        one.end(name)
        played.killed.append(name)
    one.model.released.set()


_WAITING = "SELECT count(*) FROM orchestrations WHERE status = 'awaiting_approval'"
_IN_REVIEW = "SELECT count(*) FROM orchestrations WHERE status = 'in_review'"
_RUNNING = "SELECT count(*) FROM orchestrations WHERE status IN ('running', 'waiting_for_release')"


def _wait_for_people(one: Running) -> None:
    """Until nothing goes on but what waits for people."""
    assert_eventually(
        lambda: one.number(_RUNNING) == 0 and one.number(_WAITING) > 1 and one.number(_IN_REVIEW) > 1,
        within=SECONDS,
        what="everything ended or waits for people",
    )


def _wait_for_the_end(one: Running) -> None:
    assert_eventually(
        lambda: one.number("SELECT count(*) FROM orchestrations WHERE closed_at IS NULL") == 0,
        within=SECONDS,
        what="everything ended",
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """A command of somebody who quotes a secret when asked why."""

    command: tuple[str, ...]
    place: str
    number: int

    def arguments(self) -> tuple[str, ...]:
        reason = f"because of {planted(self.place, self.number, content=False).text}"
        return (*self.command, "--actor", "ines", "--reason", reason)


def _say(one: Running, played: Played, said: Sequence[_Said]) -> None:
    answers = one.commands([each.arguments() for each in said])
    played.told |= {(each.place, planted(each.place, each.number, content=False).kind) for each in said}
    for each, answer in zip(said, answers, strict=True):
        played.commands[f"{' '.join(each.command)} ({each.number})"] = answer


def _let_people_answer(one: Running, played: Played) -> None:
    with one.database() as connection:
        asked = connection.execute(
            "SELECT action_id FROM actions WHERE state = 'awaiting_approval' ORDER BY action_id"
        ).fetchall()
        reviews = connection.execute(
            "SELECT orchestration_id FROM orchestrations WHERE status = 'in_review' ORDER BY 1"
        ).fetchall()
    outcome = json.dumps({"level": "none", "why": "a person read it"})
    said = [
        _Said(("approvals", "approve", action), "approval's comment", number)
        if number % 4
        else _Said(("approvals", "deny", action), "denial's comment", number)
        for number, (action,) in enumerate(asked)
    ]
    said += [
        _Said(("reviews", "resolve", key, "--outcome", outcome), "reason of a review", number)
        if number % 5
        else _Said(("runs", "cancel", key), "reason of a cancellation", number)
        for number, (key,) in enumerate(reviews)
    ]
    _say(one, played, said)


def _let_people_repair(one: Running, played: Played) -> None:
    """Replays of both kinds, settlements, and orders about providers."""
    with one.database() as connection:
        letters = connection.execute(
            "SELECT dead_letter_id, message_digest <> '' FROM dead_letters WHERE state = 'open' ORDER BY 1"
        ).fetchall()
        doubts = connection.execute("SELECT action_id FROM actions WHERE state = 'in_doubt'").fetchall()
    messages = [letter for letter, of_message in letters if of_message]
    others = [letter for letter, of_message in letters if not of_message]
    assert others, "nothing gave up"
    assert messages, "no message gave up"
    said = [
        _Said(
            ("dead-letters", "replay", letter, "--mode", ("resume", "rerun")[number % 2], "--no-wait"),
            "reason of a replay",
            number,
        )
        for number, letter in enumerate(others[: len(KINDS)])
    ]
    said += [
        _Said(("dead-letters", "settle", letter), "reason of a settlement", number)
        for number, letter in enumerate(messages[: len(KINDS)])
    ]
    said += [
        _Said(("actions", "settle", action, "--applied"), "reason of a settlement", number)
        for number, (action,) in enumerate(doubts)
    ]
    orders = [order for _ in KINDS for order in ("force-open", "release")]
    said += [
        _Said(("providers", order, "model"), "reason of an order", number)
        for number, order in enumerate(orders)
    ]
    _say(one, played, said)
