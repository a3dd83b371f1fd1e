"""Guards: what was not sent is recorded as refused, and a person reads what failed, why and what to do (promise 5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.dead_letters.from_facts import Owner, dead_letters
from app.data_plane.dead_letters.letters import Cause, DeadLetterRow
from app.data_plane.dispatch.attempts import after_receipt
from app.data_plane.ports import Delivery, Receipt
from app.kernel.errors import Fate
from app.kernel.facts import DeliveryFailed, Recorded
from app.kernel.release import Target
from tests.branching_workflow import ORCHESTRATION, Example
from tests.integration.scripted_server import scripted_server
from tests.integration.targets.certificates import Authority
from tests.integration.targets.deliveries import DELIVERY, LOCAL, OneAddress, answers

TARGET = Target(name="tracker", honours_keys=True, max_attempts=3)


def letter_of(receipt: Receipt) -> DeadLetterRow:
    """What becomes of a first attempt's receipt: a fact, and of the fact a dead letter."""
    example = Example()
    example.decide_with("high")
    key, action = next(iter(example.state.actions_by_id.items()))
    after = after_receipt(replace(DELIVERY, action_id=key), action, TARGET, receipt)
    assert isinstance(after.fact, DeliveryFailed)
    assert after.retry_in_seconds is None
    assert after.fact.reason == f"{receipt.reason} (status {receipt.http_status})"
    recorded = Recorded(ORCHESTRATION, 0, "2026-01-01T00:00:00.000000Z", after.fact)
    [row] = dead_letters(Owner("demo", "e-1", ORCHESTRATION, "branching"), [recorded])
    assert (row.cause, row.code, row.fate) == (Cause.FAILED_DELIVERY, receipt.reason, Fate.PERMANENT)
    return row


def receipt_from(address: TargetAddress, delivery: Delivery = DELIVERY) -> Receipt:
    [receipt] = asyncio.run(HttpTargets(OneAddress(address)).deliver([delivery]))
    return receipt


@pytest.mark.parametrize(
    ("address", "delivery", "code", "why", "what_to_do"),
    [
        (TargetAddress("http://127.0.0.1:9"), DELIVERY, "address_not_allowed", "not public", "`allow`"),
        (TargetAddress("http://169.254.169.254"), DELIVERY, "address_not_allowed", "not public", "`allow`"),
        (TargetAddress("http://user@127.0.0.1:9"), DELIVERY, "invalid_address", "cannot be read", "`url`"),
        (TargetAddress("file:///etc/passwd"), DELIVERY, "invalid_address", "cannot be read", "http or https"),
        (
            TargetAddress("http://127.0.0.1:9", networks=frozenset({"127"})),
            DELIVERY,
            "invalid_network",
            "no network",
            "`allow`",
        ),
        (
            TargetAddress("http://127.0.0.1:9", "Bearer a\r\nX-Admin: yes", LOCAL),
            DELIVERY,
            "invalid_header",
            "cannot stand",
            "secret",
        ),
        (
            TargetAddress("http://127.0.0.1:9", networks=LOCAL),
            replace(DELIVERY, path="/v1/effects/.."),
            "invalid_header",
            "cannot stand",
            "ids",
        ),
    ],
)
def test_what_is_refused_before_it_is_sent_ends_as_a_fact_and_a_letter(
    address: TargetAddress, delivery: Delivery, code: str, why: str, what_to_do: str
) -> None:
    receipt = receipt_from(address, delivery)
    assert receipt == Receipt("refused", reason=code)
    row = letter_of(receipt)
    assert why in row.what
    assert what_to_do in row.remedy
    assert f"dead-letters plan {row.dead_letter_id}" in row.remedy
    for secret in ("127.0.0.1", "X-Admin", "passwd", "user@"):
        assert secret not in row.what + row.remedy


def test_a_bad_certificate_ends_as_a_fact_and_a_letter(tmp_path: Path) -> None:
    async def run() -> Receipt:
        tls = Authority(tmp_path / "own").self_signed("bad", "IP:127.0.0.1")
        async with scripted_server(answers("never"), tls=tls) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            [receipt] = await targets.deliver([DELIVERY])
            return receipt

    row = letter_of(asyncio.run(run()))
    assert row.code == "certificate_not_verified"
    assert "could not show to be its target" in row.what
    assert "certificate mended" in row.remedy


@pytest.mark.parametrize("status", [307, 308])
def test_a_refused_redirect_ends_as_a_fact_and_a_letter(status: int) -> None:
    async def run() -> Receipt:
        moved = answers(f"HTTP/1.1 {status} Moved\nLocation: http://127.0.0.1:9\nContent-Length: 0\n\n")
        async with scripted_server(moved) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            [receipt] = await targets.deliver([DELIVERY])
            await targets.close()
            return receipt

    row = letter_of(asyncio.run(run()))
    assert "no redirect is followed" in row.what
    assert "`url`" in row.remedy
