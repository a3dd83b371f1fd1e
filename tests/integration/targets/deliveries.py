"""What the tests of targets deliver and ask, where to, and how a server on loopback answers."""

from __future__ import annotations

from app.adapters.targets.http import TargetAddress
from app.data_plane.ports import Delivery, Probe
from tests.integration.scripted_server import Behaviour, Exchange

DELIVERY = Delivery(
    tenant_id="demo",
    target="tracker",
    action_id="act_1",
    orchestration_id="orc_1",
    event_id="e-1",
    tool="github.label",
    idempotency_key="key_1",
    path="/v1/effects/github.label",
    headers={"Idempotency-Key": "key_1"},
    body=b'{"labels":["bug"]}',
    timeout_seconds=5.0,
    attempt=1,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)

PROBE = Probe(
    tenant_id="demo",
    target="tracker",
    action_id="act_1",
    orchestration_id="orc_1",
    event_id="e-1",
    idempotency_key="key_1",
    path="/v1/keys/{key}",
    timeout_seconds=5.0,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)

LOCAL = frozenset({"127.0.0.0/8", "::1/128"})


class OneAddress:
    """Every target of every tenant is at one address."""

    def __init__(self, address: TargetAddress) -> None:
        self._address = address

    def find(self, tenant_id: str, target: str) -> TargetAddress:
        return self._address


def answers(raw: str) -> Behaviour:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(raw)

    return answer


def answers_and_closes(raw: str) -> Behaviour:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(raw)
        exchange.writer.close()

    return answer
