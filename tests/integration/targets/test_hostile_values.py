"""Guards: no value ends its header or its path, so one action is one request, and that one (promise 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.ports import Delivery, Probe, ProbeAnswer, Receipt
from tests.integration.scripted_server import ScriptedServer, scripted_server
from tests.integration.targets.deliveries import DELIVERY, LOCAL, PROBE, OneAddress, answers

CREATED = answers("HTTP/1.1 201 Created\nContent-Length: 0\n\n")

UNFIT = [
    "value\r\nX-Admin: yes",
    "value\r\n\r\nPOST /v1/effects/other HTTP/1.1\r\nHost: x\r\n\r\n",
    "value\nX-Admin: yes",
    "value\rX-Admin: yes",
    "\r\nvalue",
    "value\0",
    "value\x0b",
    "value\x7f",
    "value\x85X-Admin: yes",
    "value\u2028X-Admin: yes",
    "value\u010dvalue\u010a",
    "ünïcode",
    "value\ud800",
    "嘊嘍X-Admin: yes",
]
"""The last one becomes CR and LF for whoever cuts characters down to their lower bytes."""

HEADERS: dict[str, Callable[[str], Delivery]] = {
    "tenant": lambda value: replace(DELIVERY, tenant_id=value),
    "orchestration": lambda value: replace(DELIVERY, orchestration_id=value),
    "key": lambda value: replace(DELIVERY, headers={"Idempotency-Key": value}),
    "traceparent": lambda value: replace(DELIVERY, traceparent=value),
}


def deliver_and_probe(
    delivery: Delivery, probe: Probe, authorization: str | None = None
) -> tuple[Receipt, ProbeAnswer, ScriptedServer]:
    async def run() -> tuple[Receipt, ProbeAnswer, ScriptedServer]:
        async with scripted_server(CREATED) as server:
            address = TargetAddress(server.url, authorization=authorization, networks=LOCAL)
            targets = HttpTargets(OneAddress(address))
            [receipt] = await targets.deliver([delivery])
            [answer] = await targets.probe([probe])
            await targets.close()
            return receipt, answer, server

    return asyncio.run(run())


@pytest.mark.parametrize("where", HEADERS)
@pytest.mark.parametrize("value", UNFIT)
def test_a_value_that_cannot_stand_in_a_header_is_refused_and_nothing_is_connected(
    where: str, value: str
) -> None:
    delivery = HEADERS[where](value)
    probe = replace(
        PROBE,
        tenant_id=delivery.tenant_id,
        orchestration_id=delivery.orchestration_id,
        traceparent=delivery.traceparent,
        path="/v1/keys/{key}" + (value if where == "key" else ""),
    )
    receipt, answer, server = deliver_and_probe(delivery, probe)
    assert receipt == Receipt("refused", reason="invalid_header")
    assert answer == ProbeAnswer("unknown", reason="invalid_header")
    assert server.connections == 0


@pytest.mark.parametrize("value", UNFIT)
def test_a_secret_that_cannot_stand_in_a_header_is_refused_and_told_nowhere(value: str) -> None:
    receipt, answer, server = deliver_and_probe(DELIVERY, PROBE, f"Bearer {value}")
    assert receipt == Receipt("refused", reason="invalid_header")
    assert answer == ProbeAnswer("unknown", reason="invalid_header")
    assert server.connections == 0


@pytest.mark.parametrize("value", ["", ".", "..", "a\r\nb", "a\nb", "a\0b", "a\u200bb", "a\ud800b"])
def test_a_tool_or_key_that_cannot_be_a_part_of_a_path_is_refused(value: str) -> None:
    """A server drops an empty part and goes up a folder for two dots: the effect would be another one."""
    receipt, answer, server = deliver_and_probe(
        replace(DELIVERY, path=f"/v1/effects/{value}"), replace(PROBE, idempotency_key=value)
    )
    assert receipt == Receipt("refused", reason="invalid_header")
    assert answer == ProbeAnswer("unknown", reason="invalid_header")
    assert server.connections == 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a b", "a%20b"),
        ("a b HTTP/1.1", "a%20b%20HTTP%2F1.1"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("a%0d%0ab", "a%250d%250ab"),
        ("a%2e%2e", "a%252e%252e"),
        ("a;b", "a%3Bb"),
        ("a\\b", "a%5Cb"),
        ("ä", "%C3%A4"),
        ("嘊嘍", "%E5%98%8A%E5%98%8D"),
    ],
)
def test_a_key_is_one_part_of_a_path_and_a_tools_path_is_a_plain_one_whatever_is_in_them(
    value: str, shown: str
) -> None:
    receipt, _, server = deliver_and_probe(
        replace(DELIVERY, path=f"/v1/effects/{value}"), replace(PROBE, idempotency_key=value)
    )
    assert receipt == Receipt("refused", reason="invalid_header")
    assert [head.split("\r\n")[0] for head in server.heads] == [f"GET /v1/keys/{shown} HTTP/1.1"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/{key} HTTP/1.1\r\nX-Admin: yes\r\nX:",
        "/v1/{key}\r\n\r\nPOST /v1/effects/other HTTP/1.1",
        "/v1/ {key}",
        "/v1/{key}\t",
        "/v1/{key}\0",
        "/v1/{key}ä",
        "http://other.example/{key}",
        "@other.example/{key}",
        "{key}",
        "",
    ],
)
def test_a_probes_path_that_cannot_stand_in_a_request_line_is_refused(path: str) -> None:
    """Publishing refuses it too; a release that was published before that did not."""
    _, answer, server = deliver_and_probe(DELIVERY, replace(PROBE, path=path))
    assert answer == ProbeAnswer("unknown", reason="invalid_header")
    assert len(server.heads) == 1, "the delivery's"


@pytest.mark.parametrize(
    "arguments",
    [b"", b"0\r\n\r\nPOST /v1/effects/other HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n", bytes(range(256))],
)
def test_arguments_are_the_body_to_their_last_byte_and_no_request_of_their_own(arguments: bytes) -> None:
    receipt, _, server = deliver_and_probe(replace(DELIVERY, body=arguments), PROBE)
    assert receipt.outcome == "confirmed"
    assert server.bodies == [arguments, b""]
    assert f"\r\nContent-Length: {len(arguments)}\r\n" in server.heads[0]
    assert "transfer-encoding" not in server.heads[0].lower()


def test_one_unfit_value_refuses_its_own_delivery_and_no_other_of_the_batch() -> None:
    async def run() -> tuple[list[Receipt], int]:
        async with scripted_server(CREATED) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            batch = [
                DELIVERY,
                *(replace(DELIVERY, path=f"/v1/effects/{value}") for value in ("..", "a\ud800")),
                DELIVERY,
            ]
            receipts = await targets.deliver(batch)
            await targets.close()
            return receipts, len(server.heads)

    receipts, received = asyncio.run(run())
    assert [receipt.outcome for receipt in receipts] == ["confirmed", "refused", "refused", "confirmed"]
    assert received == 2
