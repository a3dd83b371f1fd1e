"""An encrypted message is opened by its tenant's key alone, and only as it was sealed."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from app.data_plane.ingestion.messages import accept_message
from app.data_plane.ingestion.refusals import refusal
from app.data_plane.ingestion.tenants import Credentials, KnownTenants
from app.kernel.clock import SystemClock
from app.kernel.errors import PermanentError
from interlock.enqueue import Client
from interlock.envelope import Envelope
from interlock.errors import InvalidInputError
from interlock.identity import orchestration_id
from interlock.ingestion_message import key_id, read, sealed, sign
from interlock.sealing import SealedMessage, seal
from tests.unit.ingestion.fakes import Ingestion, issue

KEY, OTHER = b"k" * 32, b"o" * 32
TENANTS = KnownTenants(
    {"demo": Credentials(signing_key=KEY), "other": Credentials(signing_key=OTHER), "keyless": Credentials()}
)
NONCE = bytes(range(12))
MARKER = "canary-of-the-event"


def _message(envelope: Envelope | None = None, workflow: str | None = "audit") -> dict[str, Any]:
    event = envelope or issue(title=MARKER)
    return dict(sealed(event, workflow, KEY, max_bytes=1_000_000, nonce=NONCE).to_json())


def _refused(message: Any, max_bytes: int = 10_000) -> PermanentError:
    given = Ingestion()
    with pytest.raises(PermanentError) as refused:
        accept_message(given.service, TENANTS, message, max_bytes=max_bytes)
    assert given.store.events == {}
    return refused.value


def _flipped(text: str, position: int) -> str:
    body = bytearray(base64.b64decode(text))
    body[position] ^= 1
    return base64.b64encode(body).decode()


def test_an_encrypted_message_is_accepted_under_the_id_that_the_client_derived() -> None:
    """Nothing of its event but the tenant's and the workflow's names is in it."""
    message = _message()
    assert MARKER not in str(message) + str(base64.b64decode(message["ciphertext"]))
    accepted = accept_message(Ingestion().service, TENANTS, message)
    assert accepted.orchestration_ids == (orchestration_id("demo", "/host", "1", "audit"),)


@pytest.mark.parametrize(
    "changes",
    [
        {"workflow": "issue-triage"},
        {"workflow": None},
        {"tenant": "other"},
        {"tenant": "keyless"},
        {"tenant": "nobody"},
        {"key_id": key_id(OTHER)},
        {"nonce": _flipped(base64.b64encode(NONCE).decode(), 0)},
        {"ciphertext": _flipped(_message()["ciphertext"], 0)},
        {"ciphertext": _flipped(_message()["ciphertext"], -1)},
        {"ciphertext": base64.b64encode(base64.b64decode(_message()["ciphertext"])[:-1]).decode()},
        {"ciphertext": base64.b64encode(b"x" * 16).decode()},
    ],
    ids=str,
)
def test_a_message_changed_on_its_way_is_refused(changes: dict[str, Any]) -> None:
    """The tag covers every field: another workflow, tenant, key, nonce or byte, and it opens no more."""
    assert _refused({**_message(), **changes}).code == "bad_signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"format": 3},
        {"more": 1},
        {"nonce": "AAAA"},
        {"nonce": "not base64"},
        {"nonce": None},
        {"ciphertext": ""},
        {"ciphertext": "ü"},
        {"ciphertext": 7},
        {"tenant": None},
        {"tenant": "\ud800"},
        {"key_id": "\ud800"},
    ],
    ids=ascii,
)
def test_what_is_no_encrypted_message_is_refused_as_none(changes: dict[str, Any]) -> None:
    """As other bad messages are, by the same code."""
    assert _refused({**_message(), **changes}).code == "not_a_message"


def test_a_tenant_cannot_seal_for_another() -> None:
    """The tenant in clear says whose key opens it; the envelope within must be that tenant's."""
    body = issue(tenant="demo").to_bytes()
    forged = seal(body, tenant="other", workflow=None, key=OTHER, key_id=key_id(OTHER), nonce=NONCE)
    assert _refused(forged.to_json()).code == "bad_signature"
    foreign = seal(body, tenant="demo", workflow=None, key=OTHER, key_id=key_id(OTHER), nonce=NONCE)
    assert _refused(foreign.to_json()).code == "bad_signature"


def test_what_is_too_large_is_refused_before_it_is_decrypted() -> None:
    """By its length, which anybody can see."""
    assert _refused(_message(issue(title="x" * 20_000))).code == "too_large"


def test_the_report_of_a_refused_encrypted_message_holds_no_content() -> None:
    """Whose it is when its tenant sent it, and never what it says."""
    message = _message(replace(issue(title=MARKER), type="dev.interlock.unknown"), None)
    error = _refused(message)
    told = refusal(TENANTS, message, error, SystemClock())
    assert (told.tenant, told.event_id, told.code) == ("demo", "1", error.code)
    assert MARKER not in told.model_dump_json()
    changed = {**message, "workflow": "another"}
    unknown = refusal(TENANTS, changed, _refused(changed), SystemClock())
    assert (unknown.tenant, unknown.event_id) == ("", "")


def test_messages_show_nothing_of_their_event() -> None:
    """Neither format's repr holds the envelope."""
    for message in (
        sign(issue(title=MARKER), None, KEY, max_bytes=10_000),
        sealed(issue(title=MARKER), None, KEY, max_bytes=10_000, nonce=NONCE),
    ):
        assert MARKER not in repr(message)


def test_the_bytes_of_format_2_are_these_for_ever() -> None:
    """Golden: a client of today and a service of tomorrow understand each other."""
    message = seal(b"{}", tenant="demo", workflow="audit", key=KEY, key_id=key_id(KEY), nonce=NONCE)
    assert message.to_json() == {
        "format": 2,
        "tenant": "demo",
        "workflow": "audit",
        "key_id": "9df1f9d3c88804fa",
        "nonce": "AAECAwQFBgcICQoL",
        "ciphertext": "ZKATjHotCgO/lZGKY3ylr7YK",
    }
    received = read(message.to_json())
    assert isinstance(received, SealedMessage)
    assert received.opened_with(KEY) == b"{}"


def test_no_nonce_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same event sent again is another ciphertext."""
    client = Client("redis://127.0.0.1:1/0", "demo", KEY)
    sent = [client._message(issue(), "audit") for _ in range(64)]
    assert len({str(message["nonce"]) for message in sent}) == 64
    assert len({str(message["ciphertext"]) for message in sent}) == 64


def test_without_the_extra_encryption_is_refused_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """``encrypt=True`` is a promise: it is kept, or the client is not made."""
    monkeypatch.setitem(sys.modules, "interlock.sealing", None)
    assert Client("redis://127.0.0.1:1/0", "demo", KEY)._message(issue(), "audit")["format"] == 1
    with pytest.raises(InvalidInputError) as refused:
        Client("redis://127.0.0.1:1/0", "demo", KEY, encrypt=True)
    assert refused.value.code == "encryption_unavailable"
    assert "interlock[encryption]" in refused.value.remedy


def test_reading_signed_messages_loads_no_cryptography() -> None:
    """Who encrypts nothing needs nothing for it."""
    script = (
        "import sys; from interlock import ingestion_message, envelope;"
        "assert not {'cryptography', 'celery', 'redis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
