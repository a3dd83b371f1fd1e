"""Access to the broker alone forges nothing: a message counts only with its tenant's signature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.data_plane.ingestion.accept import Accepted
from app.data_plane.ingestion.messages import accept_message, accept_messages
from app.data_plane.ingestion.tenants import Credentials, KnownTenants
from app.kernel.errors import PermanentError
from interlock.envelope import Envelope
from interlock.identity import orchestration_id
from interlock.ingestion_message import sign
from tests.unit.ingestion.fakes import Ingestion, issue

KEY = b"k" * 32
TENANTS = KnownTenants({"demo": Credentials(signing_key=KEY), "keyless": Credentials()})


def _message(envelope: Envelope, workflow: str | None = None, key: bytes = KEY) -> dict[str, Any]:
    return dict(sign(envelope, workflow, key, max_bytes=1_000_000).to_json())


def _refused(message: Any) -> str:
    given = Ingestion()
    with pytest.raises(PermanentError) as refused:
        accept_message(given.service, TENANTS, message, max_bytes=10_000)
    assert given.store.events == {}
    return refused.value.code


def test_a_signed_message_is_accepted_for_the_workflow_it_asks_for() -> None:
    """Under the id that the client derived before sending."""
    accepted = accept_message(Ingestion().service, TENANTS, _message(issue(), "audit"))
    assert accepted.orchestration_ids == (orchestration_id("demo", "/host", "1", "audit"),)


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "ü"},
        {"workflow": "issue-triage"},
        {"workflow": None},
        {"key_id": "0" * 16},
        {"envelope": issue(title="Another").to_bytes().decode()},
    ],
    ids=str,
)
def test_a_message_changed_on_its_way_is_refused(changes: dict[str, Any]) -> None:
    """The signature covers the event, the workflow and the key's name."""
    assert _refused({**_message(issue(), "audit"), **changes}) == "bad_signature"


def test_a_tenant_cannot_sign_for_another() -> None:
    """And one without a signing key takes no messages at all."""
    assert _refused(_message(issue(tenant="keyless"))) == "bad_signature"
    assert _refused(_message(issue(tenant="nobody"))) == "bad_signature"
    assert _refused(_message(issue(), key=b"x" * 32)) == "bad_signature"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (None, "not_a_message"),
        ([], "not_a_message"),
        ({**_message(issue()), "format": 2}, "not_a_message"),
        ({**_message(issue()), "more": 1}, "not_a_message"),
        ({**_message(issue()), "envelope": {}}, "not_a_message"),
        ({**_message(issue()), "workflow": 1}, "invalid_attribute"),
        ({**_message(issue()), "envelope": "{"}, "not_json"),
        ({**_message(issue()), "envelope": "\ud800"}, "not_utf8"),
        ({**_message(issue()), "envelope": '{"specversion":"1.0","id":NaN}'}, "not_a_number"),
        ({**_message(issue()), "envelope": "[" * 9_000}, "too_deep"),
        (_message(issue(title="x" * 20_000)), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_message_is_refused_by_its_code(message: Any, code: str) -> None:
    """It becomes a dead letter that says why."""
    assert _refused(message) == code


def test_a_bad_message_keeps_no_other_of_its_batch_out() -> None:
    """One commit for the good ones, an answer for each."""
    given = Ingestion()
    answers = accept_messages(
        given.service, TENANTS, [_message(issue("1")), "forged", _message(replace(issue("2"), subject="s"))]
    )
    assert [isinstance(answer, Accepted) for answer in answers] == [True, False, True]
    assert given.store.batches == [2]


def test_api_keys_belong_to_one_tenant_and_are_not_shown() -> None:
    """An empty key is nobody's, even where a document's secret turned out empty."""
    tenants = KnownTenants({"a": Credentials(api_keys=("one", "")), "b": Credentials(api_keys=("two",))})
    assert [tenants.api_key_tenant(key) for key in ("one", "two", "three", "")] == ["a", "b", None, None]
    assert "one" not in repr(Credentials(api_keys=("one",)))
