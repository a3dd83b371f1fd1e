"""Guards: a receipt tells apart what was taken, what was surely not, and what nobody can know (promise 2)."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace

import pytest

from app.adapters.secrets import SecretUnavailableError
from app.adapters.targets.connection import MAX_ANSWER_BYTES
from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.ports import Delivery, Probe, ProbeAnswer, Receipt
from tests.integration.scripted_server import Behaviour, Exchange, ScriptedServer, scripted_server
from tests.integration.targets.deliveries import (
    DELIVERY,
    LOCAL,
    PROBE,
    OneAddress,
    answers,
    answers_and_closes,
)


def targets_at(url: str, **options: object) -> HttpTargets:
    address = TargetAddress(url, authorization="Bearer s3cret", networks=LOCAL)
    return HttpTargets(OneAddress(address), **options)  # type: ignore[arg-type]


def deliver_to(behaviour: Behaviour, delivery: Delivery = DELIVERY) -> tuple[Receipt, ScriptedServer]:
    async def run() -> tuple[Receipt, ScriptedServer]:
        async with scripted_server(behaviour) as server:
            targets = targets_at(server.url)
            [receipt] = await targets.deliver([delivery])
            await targets.close()
            return receipt, server

    return asyncio.run(run())


def test_the_target_sees_the_key_the_correlation_keys_and_the_arguments_as_they_are() -> None:
    receipt, server = deliver_to(answers("HTTP/1.1 201 Created\nContent-Length: 2\n\n{}"))
    assert receipt == Receipt("confirmed", http_status=201, body=b"{}")
    request_line, *lines = server.heads[0].strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert request_line == "POST /v1/effects/github.label HTTP/1.1"
    assert headers["Idempotency-Key"] == "key_1"
    assert headers["Interlock-Tenant"] == "demo"
    assert headers["Interlock-Orchestration"] == "orc_1"
    assert headers["traceparent"] == DELIVERY.traceparent
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert server.bodies == [DELIVERY.body]


@pytest.mark.parametrize(
    ("status", "extra", "outcome", "wait"),
    [
        ("200 OK", "", "confirmed", None),
        # "See what became of it over there", which many say of a POST that they have processed.
        ("301 Moved\nLocation: http://127.0.0.1:9/", "", "unknown", None),
        ("302 Found\nLocation: http://127.0.0.1:9/", "", "unknown", None),
        ("303 See Other\nLocation: http://127.0.0.1:9/", "", "unknown", None),
        ("304 Not Modified", "", "unknown", None),
        # "Send the same request to another address": it was not processed here.
        ("307 Elsewhere\nLocation: http://127.0.0.1:9/", "", "refused", None),
        ("308 Elsewhere\nLocation: http://127.0.0.1:9/", "", "refused", None),
        ("400 Bad", "", "refused", None),
        ("404 Not Found", "", "refused", None),
        ("408 Timeout", "", "retry", None),
        # "An earlier request with this key is still being processed", or "it is there already".
        ("409 Conflict", "Retry-After: 3\n", "unknown", 3.0),
        ("409 Conflict", "", "unknown", None),
        ("422 No", "", "refused", None),
        ("425 Too Early", "", "retry", None),
        ("429 Busy", "Retry-After: 7\n", "retry", 7.0),
        ("429 Busy", "", "retry", None),
        ("500 Oops", "", "unknown", None),
        ("502 Bad Gateway", "", "unknown", None),
        ("503 Down", "Retry-After: 0\n", "retry", 0.0),
        ("503 Down", "", "unknown", None),
    ],
)
def test_each_status_has_its_outcome(status: str, extra: str, outcome: str, wait: float | None) -> None:
    receipt, server = deliver_to(answers(f"HTTP/1.1 {status}\n{extra}Content-Length: 0\n\n"))
    assert (receipt.outcome, receipt.retry_after_seconds) == (outcome, wait)
    assert receipt.http_status == int(status[:3])
    assert len(server.heads) == 1, "one delivery is one request: nothing is retried or followed in hiding"


def test_a_target_that_applied_the_key_before_says_so() -> None:
    receipt, _ = deliver_to(answers("HTTP/1.1 200 OK\nIdempotent-Replayed: true\nContent-Length: 0\n\n"))
    assert receipt.repeated


@pytest.mark.parametrize(
    "raw",
    [
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    ],
)
def test_the_framings_of_http_are_understood(raw: str) -> None:
    receipt, _ = deliver_to(answers(raw))
    assert receipt == Receipt("confirmed", http_status=200, body=b"hello")


def test_a_body_without_a_length_ends_where_the_connection_does() -> None:
    receipt, _ = deliver_to(answers_and_closes("HTTP/1.1 200 OK\n\nhello"))
    assert receipt == Receipt("confirmed", http_status=200, body=b"hello")


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        ("", 0, "connection_lost"),
        ("HTTP/1.1 200", 0, "connection_lost"),
        ("HTTP/1.1 200 OK\nContent-Length: 10\n\nhal", 200, "connection_lost"),
        ("SSH-2.0-OpenSSH\n", 0, "malformed_answer"),
        ("HTTP/1.1 200 OK\nX: " + "x" * 2 * MAX_ANSWER_BYTES, 0, "malformed_answer"),
    ],
)
def test_sent_without_a_whole_answer_is_unknown(raw: str, status: int, reason: str) -> None:
    """The effect may have happened: it must never look like something that can simply be sent again."""
    receipt, _ = deliver_to(answers_and_closes(raw))
    assert receipt == Receipt("unknown", http_status=status, reason=reason)


def test_a_target_that_hangs_is_unknown_and_sees_the_connection_close() -> None:
    async def run() -> Receipt:
        async with scripted_server(Exchange.wait_until_the_client_closes) as server:
            [receipt] = await targets_at(server.url).deliver([replace(DELIVERY, timeout_seconds=0.1)])
            await asyncio.wait_for(server.closed_by_client.wait(), 5)
            return receipt

    assert asyncio.run(run()) == Receipt("unknown", reason="timed_out")


def test_an_oversized_answer_is_cut_and_its_status_counts() -> None:
    size = 3 * MAX_ANSWER_BYTES
    receipt, _ = deliver_to(answers(f"HTTP/1.1 200 OK\nContent-Length: {size}\n\n" + "x" * size))
    assert receipt.outcome == "confirmed"
    assert len(receipt.body) <= MAX_ANSWER_BYTES


def test_a_second_answer_to_one_request_is_not_taken_for_the_next_ones() -> None:
    """A desynchronised connection must not give one action's answer to another."""

    async def run() -> tuple[list[Receipt], int]:
        async def twice(exchange: Exchange) -> None:
            one = "HTTP/1.1 201 Created\nContent-Length: 0\n\n"
            await exchange.answer(one + one.replace("201 Created", "409 Conflict"))

        async with scripted_server(twice) as server:
            targets = targets_at(server.url)
            receipts = [(await targets.deliver([DELIVERY]))[0] for _ in range(2)]
            await targets.close()
            return receipts, server.connections

    receipts, connections = asyncio.run(run())
    assert [receipt.http_status for receipt in receipts] == [201, 201]
    assert connections == 2


def test_nothing_sent_may_be_tried_again() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        [receipt] = asyncio.run(targets_at(url).deliver([DELIVERY]))
    assert receipt == Receipt("retry", reason="connection_refused")


def test_a_name_that_is_nobodys_was_not_sent_either() -> None:
    [receipt] = asyncio.run(targets_at("http://nobody.invalid").deliver([DELIVERY]))
    assert receipt == Receipt("retry", reason="name_not_resolved")


def test_a_failed_tls_handshake_was_not_sent_either() -> None:
    async def run() -> tuple[Receipt, list[str]]:
        async with scripted_server(answers("never")) as server:
            [receipt] = await targets_at(f"https://127.0.0.1:{server.port}").deliver([DELIVERY])
            return receipt, server.heads

    receipt, heads = asyncio.run(run())
    assert receipt.outcome == "retry"
    assert heads == []


@pytest.mark.parametrize(
    ("url", "networks", "reason"),
    [
        ("http://127.0.0.1:9", frozenset(), "address_not_allowed"),
        ("http://127.0.0.1:9", frozenset({"10.0.0.0/8"}), "address_not_allowed"),
        ("http://169.254.169.254", LOCAL, "address_not_allowed"),
        ("http://[::ffff:169.254.169.254]", LOCAL, "address_not_allowed"),
        ("http://2130706433:9", LOCAL, "invalid_address"),
        ("http://LOCALHOST:9", frozenset(), "address_not_allowed"),
        ("http://allowed.example@127.0.0.1:9", LOCAL, "invalid_address"),
        ("file:///etc/passwd", LOCAL, "invalid_address"),
        ("http://127.0.0.1:99999", LOCAL, "invalid_address"),
        ("http://[bad", LOCAL, "invalid_address"),
    ],
)
def test_what_the_tenant_does_not_allow_is_refused_before_a_connection(
    url: str, networks: frozenset[str], reason: str
) -> None:
    """Checked after name resolution, on the address that is then used."""
    directory = OneAddress(TargetAddress(url, networks=networks))
    [receipt] = asyncio.run(HttpTargets(directory).deliver([DELIVERY]))
    assert receipt == Receipt("refused", reason=reason)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_name_that_cannot_be_one_fails_alone_and_the_rest_of_the_batch_is_answered(host: str) -> None:
    """One tenant's document does not stop another's deliveries."""

    class OneBad(OneAddress):
        def find(self, tenant_id: str, target: str) -> TargetAddress:
            if target == "broken":
                return TargetAddress(f"http://{host}:9", networks=LOCAL)
            return super().find(tenant_id, target)

    good = OneAddress(TargetAddress("http://127.0.0.1:1", networks=LOCAL)).find("demo", "tracker")
    receipts = asyncio.run(HttpTargets(OneBad(good)).deliver([replace(DELIVERY, target="broken"), DELIVERY]))
    assert [receipt.reason for receipt in receipts] == ["invalid_address", "connection_refused"]


def test_no_value_can_add_a_header() -> None:
    hostile = replace(DELIVERY, tenant_id="demo\r\nX-Admin: yes")
    receipt, server = deliver_to(answers("HTTP/1.1 200 OK\nContent-Length: 0\n\n"), hostile)
    assert receipt == Receipt("refused", reason="invalid_header")
    assert server.heads == []


def test_a_secret_that_is_not_there_refuses_the_delivery_and_no_other() -> None:
    class WithoutSecret(OneAddress):
        def find(self, tenant_id: str, target: str) -> TargetAddress:
            if target == "broken":
                raise SecretUnavailableError("The secret env:X is not there.")
            return super().find(tenant_id, target)

    async def run() -> list[Receipt]:
        async with scripted_server(answers("HTTP/1.1 200 OK\nContent-Length: 0\n\n")) as server:
            targets = HttpTargets(WithoutSecret(TargetAddress(server.url, networks=LOCAL)))
            receipts = await targets.deliver([replace(DELIVERY, target="broken"), DELIVERY])
            await targets.close()
            return receipts

    broken, whole = asyncio.run(run())
    assert broken == Receipt("refused", reason="secret_unavailable")
    assert whole.outcome == "confirmed"


def test_a_batch_is_sent_at_once_and_answered_in_order_over_at_most_the_permitted_connections() -> None:
    """Each request waits until three are in flight: a sequential client would never be answered."""

    async def run() -> tuple[list[Receipt], int]:
        together = asyncio.Barrier(3)

        async def answer(exchange: Exchange) -> None:
            await asyncio.wait_for(together.wait(), 5)
            await exchange.answer(
                f"HTTP/1.1 200 OK\nContent-Length: {len(exchange.body)}\n\n{exchange.body.decode()}"
            )

        async with scripted_server(answer) as server:
            targets = targets_at(server.url, concurrency=3)
            batch = [replace(DELIVERY, body=b"%d" % number) for number in range(12)]
            receipts = await targets.deliver(batch)
            await targets.close()
            return receipts, server.connections

    receipts, connections = asyncio.run(run())
    assert [receipt.body for receipt in receipts] == [b"%d" % number for number in range(12)]
    assert connections == 3


def test_a_connection_that_the_target_closed_while_idle_is_not_used_again() -> None:
    async def run() -> list[str]:
        async with scripted_server(answers_and_closes("HTTP/1.1 200 OK\nContent-Length: 0\n\n")) as server:
            targets = targets_at(server.url)
            outcomes: list[str] = []
            for _ in range(3):
                [receipt] = await targets.deliver([DELIVERY])
                outcomes.append(receipt.outcome)
                await asyncio.sleep(0.02)
            return outcomes

    assert asyncio.run(run()) == ["confirmed"] * 3


def test_a_secret_is_in_no_representation() -> None:
    assert "s3cret" not in repr(TargetAddress("http://x", authorization="s3cret"))


def test_a_delivery_that_waits_too_long_for_its_turn_is_not_sent() -> None:
    """Its time counts from the call: who waited for it may believe afterwards that nothing comes any more."""

    async def run() -> tuple[list[Receipt], int]:
        async with scripted_server(Exchange.wait_until_the_client_closes) as server:
            targets = targets_at(server.url, concurrency=1)
            batch = [replace(DELIVERY, timeout_seconds=0.2)] * 3
            receipts = await targets.deliver(batch)
            await targets.close()
            return receipts, len(server.heads)

    receipts, received = asyncio.run(run())
    assert sorted(receipt.reason for receipt in receipts) == ["connect_timed_out"] * 2 + ["timed_out"]
    assert sorted(receipt.outcome for receipt in receipts) == ["retry", "retry", "unknown"]
    assert received == 1


def test_a_process_that_stood_still_does_not_go_on_sending() -> None:
    """Stopped and continued, it finds its time over before it has written anything."""

    class Stopped(OneAddress):
        seconds = 0.0

        def find(self, tenant_id: str, target: str) -> TargetAddress:
            time.sleep(self.seconds)
            return super().find(tenant_id, target)

    async def run() -> tuple[list[Receipt], list[str]]:
        async with scripted_server(answers("HTTP/1.1 201 Created\nContent-Length: 0\n\n")) as server:
            directory = Stopped(TargetAddress(server.url, networks=LOCAL))
            targets = HttpTargets(directory)
            receipts = await targets.deliver([DELIVERY])
            directory.seconds = 0.3
            receipts += await targets.deliver([replace(DELIVERY, timeout_seconds=0.1)])
            await targets.close()
            return receipts, server.heads

    receipts, heads = asyncio.run(run())
    assert [receipt.outcome for receipt in receipts] == ["confirmed", "retry"]
    assert receipts[1].reason == "connect_timed_out"
    assert len(heads) == 1


def ask(behaviour: Behaviour, probe: Probe = PROBE) -> tuple[ProbeAnswer, ScriptedServer]:
    async def run() -> tuple[ProbeAnswer, ScriptedServer]:
        async with scripted_server(behaviour) as server:
            targets = targets_at(server.url)
            [answer] = await targets.probe([probe])
            await targets.close()
            return answer, server

    return asyncio.run(run())


class TestProbing:
    """A target tells what became of a key: with 200 and 404, and with nothing else."""

    def test_the_key_stands_in_the_path_and_nothing_is_asked_to_happen(self) -> None:
        odd = replace(PROBE, idempotency_key="key/ä?#{key}", path="/at/{key}/state?v=1")
        answer, server = ask(answers("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"), odd)
        assert answer == ProbeAnswer("applied", 200, b"{}")
        request_line, *lines = server.heads[0].strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert request_line == "GET /at/key%2F%C3%A4%3F%23%7Bkey%7D/state?v=1 HTTP/1.1"
        assert "Idempotency-Key" not in headers
        assert (headers["Authorization"], headers["Interlock-Tenant"]) == ("Bearer s3cret", "demo")
        assert headers["traceparent"] == PROBE.traceparent
        assert server.bodies == [b""]

    @pytest.mark.parametrize(
        ("status", "extra", "told", "wait"),
        [
            ("200 OK", "", "applied", None),
            ("404 Not Found", "", "not_applied", None),
            ("201 Created", "", "unknown", None),
            ("204 No Content", "", "unknown", None),
            ("301 Moved\nLocation: http://127.0.0.1:9/", "", "unknown", None),
            ("401 Who", "", "unknown", None),
            ("410 Gone", "", "unknown", None),
            ("429 Busy", "Retry-After: 7\n", "unknown", 7.0),
            ("500 Oops", "", "unknown", None),
        ],
    )
    def test_each_status_has_its_meaning(
        self, status: str, extra: str, told: str, wait: float | None
    ) -> None:
        answer, server = ask(answers(f"HTTP/1.1 {status}\n{extra}Content-Length: 0\n\n"))
        assert (answer.answer, answer.http_status) == (told, int(status[:3]))
        assert answer.retry_after_seconds == wait
        assert len(server.heads) == 1

    def test_no_whole_answer_is_none(self) -> None:
        cut_off, _ = ask(answers_and_closes("HTTP/1.1 404 Not Found\nContent-Length: 10\n\nhal"))
        assert cut_off == ProbeAnswer("unknown", 404, reason="connection_lost")
        hangs, _ = ask(Exchange.wait_until_the_client_closes, replace(PROBE, timeout_seconds=0.1))
        assert hangs == ProbeAnswer("unknown", reason="timed_out")

    @pytest.mark.parametrize(
        ("url", "networks", "reason"),
        [
            ("http://127.0.0.1:9", frozenset(), "address_not_allowed"),
            ("http://127.0.0.1:1", LOCAL, "connection_refused"),
            ("http://[bad", LOCAL, "invalid_address"),
        ],
    )
    def test_who_cannot_be_reached_tells_nothing(
        self, url: str, networks: frozenset[str], reason: str
    ) -> None:
        directory = OneAddress(TargetAddress(url, networks=networks))
        [answer] = asyncio.run(HttpTargets(directory).probe([PROBE]))
        assert answer == ProbeAnswer("unknown", reason=reason)
