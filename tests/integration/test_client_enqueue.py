"""The client against a real Redis: what arrives on the queue, and what a host sees when it is gone."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app
from kombu import Connection, Message, Queue
from opentelemetry import trace
from redis import Redis

from app.adapters.redis.connection import connect
from app.data_plane.ingestion.messages import accept_message
from app.data_plane.ingestion.tenants import Credentials, KnownTenants
from app.supervisor.embedded import EmbeddedServers
from interlock import ingestion_message
from interlock.enqueue import QUEUE, TASK, Client
from interlock.envelope import Envelope
from interlock.errors import BrokerUnavailableError, InvalidInputError
from tests.documented import blocks
from tests.unit.ingestion.fakes import Ingestion, issue

KEY = b"k" * 32
TENANTS = KnownTenants({"demo": Credentials(signing_key=KEY)})


@pytest.fixture
def redis_url(home: Path) -> Iterator[str]:
    """A real Redis of the test's own."""
    with EmbeddedServers(home, postgresql=False) as servers:
        yield servers.redis_url


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    """A client of the demo tenant."""
    made = Client(redis_url, "demo", KEY)
    yield made
    made.close()


def _received(redis_url: str, count: int) -> list[Message]:
    """The messages as a worker's consumer sees them."""
    broker = redis_url.replace("unix://", "redis+socket://", 1)
    with Connection(broker) as connection, connection.SimpleQueue(Queue(QUEUE)) as waiting:
        return [waiting.get(timeout=10) for _ in range(count)]


def test_what_is_enqueued_is_accepted_under_the_id_that_was_returned(client: Client, redis_url: str) -> None:
    """The whole way, through the broker: signed there, verified here."""
    promised = client.enqueue(issue("1"), workflow="audit")
    assert client.publish(issue("2")) == "2"
    ingestion = Ingestion()
    accepted = [
        accept_message(ingestion.service, TENANTS, message.decode()[0][0])
        for message in _received(redis_url, 2)
    ]
    assert accepted[0].orchestration_ids == (promised,)
    assert (accepted[1].event_id, len(accepted[1].orchestration_ids)) == ("2", 2)


def test_the_message_shows_nothing_of_the_event_outside_its_body(client: Client, redis_url: str) -> None:
    """Celery shows the arguments' representation in headers, Flower and logs: ours is constant."""
    client.publish(issue(title="hunter2"))
    (message,) = _received(redis_url, 1)
    headers: dict[str, Any] = message.headers
    assert headers["task"] == TASK
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(event)", "{}")
    assert "hunter2" not in repr((headers, message.properties))
    assert message.content_type == "application/json"


def test_the_hosts_trace_is_continued_where_the_host_has_one(redis_url: str) -> None:
    """The current span's, unless the event names another one; without a span the event names none."""
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    span = trace.NonRecordingSpan(
        trace.SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=trace.TraceFlags(1))
    )
    client = Client(redis_url, "demo", KEY, encrypt=False)
    with trace.use_span(span):
        client.publish(issue("1"))
        client.publish(replace(issue("2"), traceparent=given))
        assert trace.get_current_span() is span
    client.publish(issue("3"))
    client.close()
    received = [json.loads(one.decode()[0][0]["envelope"]) for one in _received(redis_url, 3)]
    assert [event.get("traceparent") for event in received] == [f"00-{0xA1:032x}-{0xB2:016x}-01", given, None]


@pytest.mark.parametrize("encrypt", [True, False], ids=["encrypted", "plain"])
def test_while_it_waits_an_encrypted_event_can_be_read_nowhere_in_redis(
    redis_url: str, encrypt: bool
) -> None:
    """The positive control: the same look at every key finds the event that is only signed."""
    client = Client(redis_url, "demo", KEY, encrypt=encrypt)
    client.publish(issue(title="hunter2 was here"))
    client.close()
    with connect(redis_url) as held:
        values = [value for key in held.scan_iter() for value in (key, *_values(held, key))]
    assert any(TASK.encode() in layer for value in values for layer in _layers(value))
    assert any(b"hunter2" in layer for value in values for layer in _layers(value)) is not encrypt


def test_the_client_works_as_its_page_shows(redis_url: str) -> None:
    """Its code, against this Redis: the service accepts what it sends under the id that it returned."""
    (code,) = blocks("docs/client.md", "python")
    shown: dict[str, Any] = {}
    exec(code.replace("redis://127.0.0.1:6379/0", redis_url), shown)  # the page's own text
    (message,) = _received(redis_url, 1)
    sent = message.decode()[0][0]
    tenants = KnownTenants({"demo": Credentials(signing_key=b"the tenant's key, as a secret")})
    assert sent["format"] == 2
    assert (
        ingestion_message.open_verified(ingestion_message.read(sent), tenants.signing_key) == shown["event"]
    )
    assert shown["orchestration"].startswith("orc_")


def _values(held: Redis, key: bytes) -> list[bytes]:
    """Everything that a key holds, whatever its type."""
    match held.type(key):
        case b"list":
            return list(held.lrange(key, 0, -1))
        case b"hash":
            return [part for pair in held.hgetall(key).items() for part in pair]
        case b"set":
            return list(held.smembers(key))
        case b"zset":
            return list(held.zrange(key, 0, -1))
        case _:
            return [held.get(key) or b""]


def _layers(value: bytes, depth: int = 3) -> Iterator[bytes]:
    """The bytes, and what is base64 in them, three times over."""
    yield value
    for text in re.findall(rb"[A-Za-z0-9+/]{16,}={0,2}", value) if depth else ():
        yield from _layers(base64.b64decode(text + b"=" * (-len(text) % 4)), depth - 1)


def test_sending_an_event_again_is_harmless(client: Client, redis_url: str) -> None:
    """An outbox sends until it is confirmed."""
    assert client.enqueue(issue(), workflow="audit") == client.enqueue(issue(), workflow="audit")
    ingestion = Ingestion()
    states = [
        accept_message(ingestion.service, TENANTS, message.decode()[0][0]).state
        for message in _received(redis_url, 2)
    ]
    assert states == ["accepted", "duplicate"]


def test_the_client_leaves_the_hosts_celery_application_alone(redis_url: str) -> None:
    """A Django project's own tasks go where they went before."""
    host = Celery("host", broker="memory://")
    host.set_current()
    Client(redis_url, "demo", KEY).close()
    assert current_app.main == "host"


def test_threads_share_a_client(client: Client, redis_url: str) -> None:
    """Web servers run a request in each thread."""
    threads = [threading.Thread(target=client.publish, args=(issue(str(number)),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(_received(redis_url, 8)) == 8


def _unavailable(url: str) -> BrokerUnavailableError:
    client = Client(url, "demo", KEY, timeout_seconds=0.3)
    with pytest.raises(BrokerUnavailableError) as failed:
        client.enqueue(issue(), workflow="audit")
    client.close()
    return failed.value


def test_without_a_broker_the_host_gets_one_clear_error(home: Path) -> None:
    """Refused at the port, or no such socket: said in words, within bounds, and nothing hangs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = _unavailable(f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
    absent = _unavailable(f"unix://{home}/absent.sock")
    for error in (refused, absent):
        assert (error.code, bool(error.remedy)) == ("broker_unavailable", True)


def test_a_broker_that_never_answers_does_not_hold_the_host(home: Path) -> None:
    """It takes the connection and is silent: the socket's time-out ends it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert _unavailable(f"redis://127.0.0.1:{silent.getsockname()[1]}/0").code == "broker_unavailable"


@pytest.mark.parametrize(
    ("event", "workflow", "code"),
    [
        (issue(tenant="other"), "audit", "wrong_tenant"),
        (issue(title="\0"), "audit", "nul_character"),
        (issue(title="\ud800"), "audit", "not_json_value"),
        (issue(title="x" * 2_000), "audit", "too_large"),
        (issue(), "Not a name", "invalid_attribute"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_service_would_refuse_is_refused_before_sending(
    event: Envelope, workflow: str, code: str
) -> None:
    """The host learns of it where it can still do something; no broker is needed for that."""
    client = Client("redis://127.0.0.1:1/0", "demo", KEY, max_bytes=1_000)
    with pytest.raises(InvalidInputError) as refused:
        client.enqueue(event, workflow=workflow)
    assert refused.value.code == code


def test_a_weak_signing_key_is_refused() -> None:
    """A short one can be guessed, and whoever guesses it forges events."""
    with pytest.raises(InvalidInputError, match="fewer than 16 bytes"):
        Client("redis://127.0.0.1:1/0", "demo", b"short")
