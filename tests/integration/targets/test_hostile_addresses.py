"""Guards: an action goes only where its tenant allows, however the way there is spelt (promise 4)."""

from __future__ import annotations

import pytest

from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.ports import ProbeAnswer, Receipt
from tests.integration.scripted_server import scripted_server
from tests.integration.targets.deliveries import DELIVERY, LOCAL, PROBE, OneAddress, answers
from tests.integration.targets.inside_server import CREATED, inside
from tests.integration.targets.watched_loop import Answers, WatchedLoop, run_watched

NAME = "target.example"


def deliver_inside(
    url: str, networks: frozenset[str] = frozenset(), leads_to: Answers | None = None
) -> tuple[Receipt, ProbeAnswer, list[str], bool]:
    """Deliver to ``url`` (``{port}`` is the inside server's) and probe it; where that led, and whether inside."""

    async def run(loop: WatchedLoop) -> tuple[Receipt, ProbeAnswer, list[str], bool]:
        async with inside() as server:
            address = TargetAddress(url.replace("{port}", str(server.port)), networks=networks)
            targets = HttpTargets(OneAddress(address))
            [receipt] = await targets.deliver([DELIVERY])
            [answer] = await targets.probe([PROBE])
            await targets.close()
            connected = list(loop.connected)
            return receipt, answer, connected, await server.was_reached()

    return run_watched(run, {NAME: leads_to} if leads_to is not None else None)


def assert_refused(
    reason: str, url: str, networks: frozenset[str] = frozenset(), leads_to: Answers | None = None
) -> None:
    receipt, answer, connected, reached = deliver_inside(url, networks, leads_to)
    assert receipt == Receipt("refused", reason=reason)
    assert answer == ProbeAnswer("unknown", reason=reason)
    assert connected == []
    assert not reached


def test_the_inside_server_is_reached_where_it_is_allowed() -> None:
    """Without this, the refusals below might mean only that nobody listens there."""
    receipt, _, connected, reached = deliver_inside("http://127.0.0.1:{port}", LOCAL)
    assert receipt.outcome == "confirmed"
    assert connected == ["127.0.0.1"]
    assert reached


NOT_PUBLIC = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0:7f00:1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:0:808:808::f7f7:f7f7",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_that_leads_to_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert_refused("address_not_allowed", f"http://{NAME}:{{port}}", leads_to=[[address]])


@pytest.mark.parametrize("address", [one for one in NOT_PUBLIC if "%" not in one])
def test_such_an_address_in_the_url_is_refused_too(address: str) -> None:
    shown = f"[{address}]" if ":" in address else address
    assert_refused("address_not_allowed", f"http://{shown}:{{port}}")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"])
def test_a_public_address_is_permitted_also_behind_a_gateway(address: str) -> None:
    """The other half of the refusals: hosts that have IPv6 only reach IPv4 targets through NAT64."""
    receipt, _, connected, reached = deliver_inside(f"http://{NAME}:{{port}}", leads_to=[[address]])
    assert connected == [address, address], "the watched loop refuses it there, and the code did not"
    assert receipt == Receipt("retry", reason="connection_refused")
    assert not reached


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("64:ff9b::7f00:1", {"64:ff9b::/96"}),
        ("2002:7f00:1::", {"2002::/16"}),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", {"2001::/32"}),
        ("127.0.0.1", {"::ffff:0:0/96"}),
        ("::1", {"127.0.0.0/8"}),
        ("127.0.0.1", {"10.0.0.0/8", "::1/128"}),
    ],
)
def test_an_allowed_network_permits_what_is_in_it_and_nothing_that_hides_in_it(
    address: str, networks: set[str]
) -> None:
    assert_refused(
        "address_not_allowed", f"http://{NAME}:{{port}}", frozenset(networks), leads_to=[[address]]
    )


def test_an_address_that_maps_an_allowed_one_is_that_one() -> None:
    receipt, *_ = deliver_inside("http://[::ffff:7f00:1]:{port}", LOCAL)
    assert receipt.outcome == "confirmed"


def test_a_network_that_is_none_refuses_and_is_no_defect() -> None:
    assert_refused("invalid_network", "http://127.0.0.1:{port}", frozenset({"127.0.0.1/8"}))


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "LocalHost"])
def test_the_systems_name_of_loopback_is_refused(name: str) -> None:
    assert_refused("address_not_allowed", f"http://{name}:{{port}}")


@pytest.mark.parametrize(
    "host",
    [
        # numbers that resolvers take for 127.0.0.1
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "0",
        "0x",
        "256.256.256.256",
        "1.2.3.4.5",
        "name.127",
        # names and addresses with an end of their own
        "127.0.0.1.",
        "localhost.",
        "localhost..",
        "a..b",
        ".localhost",
        # what becomes a digit, a letter or a dot on the way to the resolver
        "１２７．０．０．１",
        "１２７.0.0.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "127．0．0．1",
        "127｡0｡0｡1",
        "١٢٧.٠.٠.١",
        "ｌｏｃａｌｈｏｓｔ",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "localhoﬆ",
        "local\u200bhost",
        "local\u00adhost",
        "ü。localhost",
        # user names, and what some readers take for the end of the host
        "good@127.0.0.1",
        "good:word@127.0.0.1",
        "@127.0.0.1",
        "127.0.0.1@good.example",
        "good.example@127.0.0.1@127.0.0.1",
        "good.example\\@127.0.0.1",
        "127.0.0.1\\@good.example",
        "127.0.0.1\\.good.example",
        "127.0.0.1#@good.example",
        "good.example?@127.0.0.1",
        "good.example:80@127.0.0.1",
        "127.0.0.1:80:",
        "[::1]good.example",
        "good.example[::1]",
        # percent-encoded, with spaces or control characters, cut short
        "%31%32%37.0.0.1",
        "127.0.0.1%00.good.example",
        "127.0.0.1%2f.good.example",
        "loc%61lhost",
        " 127.0.0.1",
        "127.0.0.1 ",
        "127.\t0.0.1",
        "127.0.\n0.1",
        "127.0.0.1\r\nX-Admin: yes",
        "127.0.0.1\0.good.example",
        "127.0.0.1\u3000",
        "127.0.0.1\ud800",
        # brackets
        "[::1",
        "::1]",
        "::1",
        "[]",
        "[127.0.0.1]",
        "[::1%25lo]",
        "[fe80::1%lo]",
        "[fe80::1%251]",
        "[::ffff:127.0.0.1%1]",
        "[v1.127.0.0.1]",
        "[::ffff:127.1]",
        "[::ffff:0x7f.0.0.1]",
        "[0:0:0:0:0:0:0:0:1]",
        # lengths
        "",
        "x" * 64 + ".example",
        ".".join(["x" * 60] * 5),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_can_be_read_in_two_ways_is_refused_even_where_loopback_is_allowed(
    scheme: str, host: str
) -> None:
    assert_refused("invalid_address", f"{scheme}://{host}:{{port}}", LOCAL)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://127.0.0.1:{port}/etc/passwd",
        "ftp://127.0.0.1:{port}",
        "gopher://127.0.0.1:{port}/_POST",
        "unix:///run/target.sock",
        "http+unix://127.0.0.1:{port}",
        "data:text/plain,hello",
        "javascript:fetch('http://127.0.0.1:{port}')",
        "ws://127.0.0.1:{port}",
        "dict://127.0.0.1:{port}",
        "//127.0.0.1:{port}",
        "127.0.0.1:{port}",
        "/v1",
        "",
        "http:127.0.0.1:{port}",
        "http:/127.0.0.1:{port}",
        "http:///127.0.0.1:{port}",
        "http:\\\\127.0.0.1:{port}",
        "ht\ttp://127.0.0.1:{port}",
        "\x01http://127.0.0.1:{port}",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:-1",
        "http://127.0.0.1:+80",
        "http://127.0.0.1:８０",
        "http://127.0.0.1:0x50",
        "http://127.0.0.1:",
        "http://127.0.0.1:{port}/?to=good",
        "http://127.0.0.1:{port}?",
        "http://127.0.0.1:{port}/#good",
        "http://127.0.0.1:{port}/a b",
        "http://127.0.0.1:{port}/\r\nHost: good",
        "http://127.0.0.1:{port}/" + "x" * 2_000,
    ],
)
def test_another_scheme_port_or_form_is_refused_even_where_loopback_is_allowed(url: str) -> None:
    assert_refused("invalid_address", url, LOCAL)


@pytest.mark.parametrize("url", ["HTTP://127.0.0.1:{port}", "hTTpS://127.0.0.1:{port}"])
def test_a_scheme_in_capitals_is_the_same_one_and_no_way_around_the_check(url: str) -> None:
    assert_refused("address_not_allowed", url)


def test_a_name_in_other_letters_is_asked_for_in_its_ascii_form_and_sent_so() -> None:
    async def run(loop: WatchedLoop) -> tuple[Receipt, str]:
        async with scripted_server(answers(CREATED)) as server:
            address = TargetAddress(f"http://Bücher.example:{server.port}/ä", networks=LOCAL)
            targets = HttpTargets(OneAddress(address))
            [receipt] = await targets.deliver([DELIVERY])
            await targets.close()
            return receipt, server.heads[0]

    receipt, head = run_watched(run, {"xn--bcher-kva.example": [["127.0.0.1"]]})
    assert receipt.outcome == "confirmed"
    assert head.startswith("POST /%C3%A4/v1/effects/github.label HTTP/1.1\r\nHost: xn--bcher-kva.example:")
