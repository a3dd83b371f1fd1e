"""Guards: no call gets to the policy that is unknown, not allowed, malformed or hides something; nothing raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.gateway.gateway import Gateway, Setting, UnusablePolicyError
from app.data_plane.gateway.judge import Question, Spend, Verdict
from app.data_plane.gateway.provenance import Sources
from app.kernel.proposal_schema import UnsupportedSchemaError
from interlock.canonical import JsonObject
from tests.unit.gateway.calls import DIRECTORY, MAIL, asked, policy
from tests.unit.gateway.test_provenance import JSON

CEDAR = """
@id("reads") permit (principal, action == Action::"directory.find", resource);
@id("mails") permit (principal, action == Action::"mail.send", resource);
@id("known") @approval("nobody trusted named the recipient")
forbid (principal, action == Action::"mail.send", resource) unless { context.provenance.to.trusted };
@id("cheap") forbid (principal, action, resource) when { context.spend.calls > 9 };
"""
TOOLS = {MAIL.name: MAIL, DIRECTORY.name: DIRECTORY}
GATEWAY = Gateway(policy(CEDAR), TOOLS, {"clerk": ["mail.send"], "reader": ["directory.find"]})
CALL: JsonObject = {"to": ["ann@acme.test"], "body": "hello"}


def reason(arguments: JsonObject | str) -> str:
    found = GATEWAY.decide("clerk", "mail.send", arguments, asked("mail ann@acme.test"))
    assert found.outcome == "denied"
    return found.reason


def test_a_call_is_judged_by_where_its_arguments_came_from() -> None:
    sources = Sources()
    assert GATEWAY.decide("clerk", "mail.send", CALL, sources).outcome == "needs_approval"
    sources.add_result(DIRECTORY, "results.directory.find", {"email": "ann@acme.test"})
    assert GATEWAY.decide("clerk", "mail.send", json.dumps(CALL), sources) == Verdict("permitted", ("mails",))


def test_an_unknown_tool_and_one_that_is_not_allowed_are_denied() -> None:
    assert GATEWAY.decide("clerk", "mail.delete", {}, Sources()).reason == "unknown_tool"
    assert GATEWAY.decide("clerk", "directory.find", {}, Sources()).reason.startswith("not_allowed")
    assert GATEWAY.decide("nobody", "mail.send", CALL, Sources()).reason.startswith("not_allowed")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "they are not JSON"),
        ("[]", "they are no JSON object"),
        ("{} {}", "they are not JSON"),
        ('{"to": ["a"], "to": ["b"], "body": ""}', "an object has a member twice"),
        ('{"to": [NaN], "body": ""}', "they are not JSON"),
        ('{"to": "\\ud800"}', "they are not JSON"),
        ("[" * 100_000, "they are longer than"),
        ("[" * 60_000, "they are nested too deep"),
        ("9" * 5_000, "they are not JSON"),
        ({**CALL, "body": "x" * 70_000}, "they are longer than 65536 bytes"),
        ({**CALL, "secret_plan": 1}, "secret_plan: there is no such field"),
        ({**CALL, "a secret plan": 1}, "*: there is no such field"),
        ({**CALL, "to": "secret"}, "to: it should be a list"),
        ({**CALL, "copies": 0}, "copies: it should be 1 or more"),
        ({**CALL, "copies": True}, "copies: it should be a whole number"),
        ({**CALL, "urgency": "secret"}, "urgency: it should be 'now' or 'later'"),
        ({"to": [1], "copies": "secret"}, "body: it is missing"),
        ({**CALL, "to": ["an\u202en"]}, "to[]: it has the hidden character U+202E"),
        ({**CALL, "body": "\u202e"}, "body: it has the hidden character U+202E"),
    ],
)
def test_what_does_not_fit_the_contract_is_denied_without_its_values(
    arguments: JsonObject | str, told: str
) -> None:
    found = reason(arguments)
    assert found.startswith("arguments: ")
    assert told in found
    assert "a secret" not in found
    assert "'secret'" not in found


def test_what_the_run_spent_counts() -> None:
    setting = Setting("acme", "support", Spend(calls=10))
    assert GATEWAY.decide(
        "reader", "directory.find", {"name": "Ann"}, Sources(), setting=setting
    ).policies == ("cheap",)


def test_the_question_shows_what_is_recorded() -> None:
    found = GATEWAY.question(
        "clerk", "mail.send", '{"to":["ann@acme.test"],"body":"hi","price":2}', asked("mail ann@acme.test")
    )
    assert isinstance(found, Question)
    assert found.arguments == {"to": ["ann@acme.test"], "body": "hi", "price": 2}
    assert found.provenance["to"].trusted
    assert found.decimals == {"price"}


def test_a_gateway_refuses_what_it_could_not_judge_by() -> None:
    with pytest.raises(UnusablePolicyError):
        Gateway(policy("permit everything"), TOOLS, {})
    odd = MAIL.model_copy(update={"input_schema": {"type": "object", "not": {}}})
    with pytest.raises(UnsupportedSchemaError):
        Gateway(policy(CEDAR), {"mail.send": odd}, {})


@given(JSON | st.text(), st.text(max_size=5))
def test_no_arguments_make_it_raise(value: JsonObject | str, name: str) -> None:
    for arguments in (value, json.dumps(value), {"to": value, "body": name}, {name: value}):
        GATEWAY.decide("clerk", "mail.send", arguments, asked(str(value)))  # type: ignore[arg-type]
