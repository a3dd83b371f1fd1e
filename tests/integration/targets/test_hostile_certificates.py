"""Guards: an action, and the secret that goes with it, reaches nobody who cannot show to be the target (promise 4)."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.ports import ProbeAnswer, Receipt
from tests.integration.scripted_server import scripted_server
from tests.integration.targets.certificates import LATER, LONG_AGO, Authority
from tests.integration.targets.deliveries import DELIVERY, LOCAL, PROBE, OneAddress, answers
from tests.integration.targets.watched_loop import WatchedLoop, run_watched

NAME = "target.example"
ITS_NAMES = f"DNS:{NAME},IP:127.0.0.1"
CREATED = answers("HTTP/1.1 201 Created\nContent-Length: 0\n\n")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authorities") / "trusted")


def deliver_over(
    server_side: ssl.SSLContext, trusted: Path | None, host: str
) -> tuple[Receipt, ProbeAnswer, list[str]]:
    """Deliver to ``host`` and probe it; then what requests the server saw. None trusts the system's authorities."""

    async def run(loop: WatchedLoop) -> tuple[Receipt, ProbeAnswer, list[str]]:
        async with scripted_server(CREATED, tls=server_side) as server:
            address = TargetAddress(f"https://{host}:{server.port}", "Bearer s3cret", networks=LOCAL)
            tls = ssl.create_default_context(cafile=trusted) if trusted is not None else None
            targets = HttpTargets(OneAddress(address), tls=tls)
            [receipt] = await targets.deliver([DELIVERY])
            [answer] = await targets.probe([PROBE])
            await targets.close()
            return receipt, answer, server.heads

    return run_watched(
        run, {NAME: [["127.0.0.1"]], f"a.{NAME}": [["127.0.0.1"]], "xn--bcher-kva.example": [["127.0.0.1"]]}
    )


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (NAME, ITS_NAMES),
        ("TARGET.example", ITS_NAMES),
        ("127.0.0.1", ITS_NAMES),
        ("a.target.example", f"DNS:*.{NAME}"),
        ("bücher.example", "DNS:xn--bcher-kva.example"),
    ],
)
def test_a_target_that_shows_a_good_certificate_is_delivered_to(
    authority: Authority, host: str, names: str
) -> None:
    """Without this, the refusals below might mean only that nothing works."""
    receipt, _, heads = deliver_over(authority.server("good", names), authority.file, host)
    assert receipt == Receipt("confirmed", http_status=201)
    assert len(heads) == 2


BAD: dict[str, Callable[[Authority, Path], ssl.SSLContext]] = {
    "self-signed": lambda authority, _: authority.self_signed("self-signed", ITS_NAMES),
    "of another authority": lambda _, folder: Authority(folder / "other").server("other", ITS_NAMES),
    "expired": lambda authority, _: authority.server("expired", ITS_NAMES, LONG_AGO),
    "not yet good": lambda authority, _: authority.server("early", ITS_NAMES, LATER),
    "of another name": lambda authority, _: authority.server("name", "DNS:other.example,IP:127.0.0.2"),
    "of a name below": lambda authority, _: authority.server("below", f"DNS:*.{NAME}"),
    "of every name there is": lambda authority, _: authority.server("every", "DNS:*,DNS:*.example"),
    "of its address only": lambda authority, _: authority.server("address", "IP:127.0.0.1"),
    "of no name but the subject's": lambda authority, _: authority.server("none", "email:server"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_certificate_is_refused_at_once_and_nothing_was_sent(
    authority: Authority, tmp_path: Path, what: str
) -> None:
    """Trying again cannot help: somebody has to mend the certificate, or to find out who answers there."""
    receipt, answer, heads = deliver_over(BAD[what](authority, tmp_path), authority.file, NAME)
    assert receipt == Receipt("refused", reason="certificate_not_verified")
    assert answer == ProbeAnswer("unknown", reason="certificate_not_verified")
    assert heads == []


def test_an_address_is_not_vouched_for_by_a_name(authority: Authority) -> None:
    receipt, _, heads = deliver_over(authority.server("named", "DNS:127.0.0.1"), authority.file, "127.0.0.1")
    assert receipt == Receipt("refused", reason="certificate_not_verified")
    assert heads == []


def test_certificates_are_verified_against_the_systems_authorities_when_nothing_is_said(
    authority: Authority,
) -> None:
    receipt, _, heads = deliver_over(authority.server("unknown", ITS_NAMES), None, NAME)
    assert receipt == Receipt("refused", reason="certificate_not_verified")
    assert heads == []


def test_a_handshake_that_fails_otherwise_may_be_tried_again(authority: Authority) -> None:
    """Nothing was sent, and a server that wants what a client has not may be reconfigured."""
    server_side = authority.server("demanding", ITS_NAMES)
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.maximum_version = ssl.TLSVersion.TLSv1_2
    receipt, _, heads = deliver_over(server_side, authority.file, NAME)
    assert receipt.outcome == "retry"
    assert heads == []
