"""Guards: neither a redirect nor what a name leads to next takes an action where it may not go (promise 4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.ports import ProbeAnswer, Receipt
from tests.integration.scripted_server import Behaviour, Exchange, scripted_server
from tests.integration.targets.deliveries import DELIVERY, LOCAL, PROBE, OneAddress, answers
from tests.integration.targets.inside_server import CREATED, inside
from tests.integration.targets.watched_loop import WatchedLoop, run_watched

NAME = "target.example"
ONE_OF_LOOPBACK = frozenset({"127.0.0.2/32"})
"""Stands for the public address in tests that must not leave this machine."""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://[::1]:{port}"]
)
def test_no_redirect_is_followed_when_delivering_or_probing(status: int, location: str) -> None:
    """The target itself may be reached, and the inside server too, so that nothing but the rule holds it back."""

    async def run(loop: WatchedLoop) -> tuple[Receipt, ProbeAnswer, list[str], bool]:
        async with inside() as server:
            there = location.replace("{port}", str(server.port))
            async with scripted_server(redirects(status, there), host="127.0.0.2") as target:
                targets = HttpTargets(OneAddress(TargetAddress(target.url, networks=LOCAL)))
                [receipt] = await targets.deliver([DELIVERY])
                [answer] = await targets.probe([PROBE])
                await targets.close()
            connected = list(loop.connected)
            return receipt, answer, connected, await server.was_reached()

    receipt, answer, connected, reached = run_watched(run)
    refused = status in (307, 308)
    assert receipt == Receipt("refused" if refused else "unknown", status, reason=f"http_{status}")
    assert answer == ProbeAnswer("unknown", status, reason=f"http_{status}")
    assert set(connected) == {"127.0.0.2"}
    assert not reached


def redirects(status: int, location: str) -> Behaviour:
    return answers(f"HTTP/1.1 {status} Elsewhere\nLocation: {location}\nContent-Length: 0\n\n")


class TestRebinding:
    """A name that leads elsewhere when it is asked for again, or to several places at once.

    The target is at 127.0.0.2, which alone is allowed; the inside server has its port at 127.0.0.1 and ::1.
    """

    def deliver(self, *leads_to: list[str], listening: bool = True) -> tuple[list[Receipt], list[str], bool]:
        """Two deliveries, each over a connection of its own."""

        async def run(loop: WatchedLoop) -> tuple[list[Receipt], list[str], bool]:
            async with inside() as server:
                where = "127.0.0.2" if listening else "127.0.0.3"
                async with scripted_server(closing, host=where, port=server.port):
                    address = TargetAddress(f"http://{NAME}:{server.port}", networks=ONE_OF_LOOPBACK)
                    targets = HttpTargets(OneAddress(address))
                    receipts = [(await targets.deliver([DELIVERY]))[0] for _ in range(2)]
                connected = list(loop.connected)
                return receipts, connected, await server.was_reached()

        return run_watched(run, {NAME: leads_to})

    def test_the_address_that_was_checked_is_the_one_that_is_used(self) -> None:
        """Were the name asked for once more to connect, the second answer would lead inside."""
        receipts, connected, reached = self.deliver(["127.0.0.2"], ["127.0.0.1"])
        assert receipts[0].outcome == "confirmed"
        assert connected == ["127.0.0.2"]
        assert receipts[1] == Receipt("refused", reason="address_not_allowed")
        assert not reached

    @pytest.mark.parametrize("bad", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
    def test_of_several_addresses_only_permitted_ones_are_used(self, bad: str) -> None:
        """Decided so: a company's name may lead inside and outside at once; refusing it would help nobody."""
        for leads_to in ([bad, "127.0.0.2"], ["127.0.0.2", bad]):
            receipts, connected, reached = self.deliver(leads_to)
            assert [receipt.outcome for receipt in receipts] == ["confirmed"] * 2
            assert connected == ["127.0.0.2"] * 2
            assert not reached

    def test_a_permitted_address_where_nobody_listens_leads_to_no_other_one(self) -> None:
        receipts, connected, reached = self.deliver(["127.0.0.2", "127.0.0.1", "::1"], listening=False)
        assert receipts == [Receipt("retry", reason="connection_refused")] * 2
        assert connected == ["127.0.0.2"] * 2
        assert not reached


async def closing(exchange: Exchange) -> None:
    """Answers, and keeps no connection."""
    await exchange.answer("HTTP/1.1 201 Created\nConnection: close\nContent-Length: 0\n\n")


def test_a_kept_connection_is_not_anothers_who_may_not_go_there() -> None:
    """Two tenants name one URL, and only one of them allows where it leads."""

    class Two(OneAddress):
        def find(self, tenant_id: str, target: str) -> TargetAddress:
            found = super().find(tenant_id, target)
            return found if tenant_id == "demo" else replace(found, networks=frozenset())

    async def run(loop: WatchedLoop) -> tuple[list[Receipt], int]:
        async with scripted_server(answers(CREATED)) as server:
            targets = HttpTargets(Two(TargetAddress(server.url, networks=LOCAL)))
            receipts = await targets.deliver([DELIVERY])
            receipts += await targets.deliver([replace(DELIVERY, tenant_id="other")])
            receipts += await targets.deliver([DELIVERY])
            await targets.close()
            return receipts, server.connections

    receipts, connections = run_watched(run)
    assert [receipt.outcome for receipt in receipts] == ["confirmed", "refused", "confirmed"]
    assert connections == 1
