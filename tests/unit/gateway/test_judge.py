"""Guards: nothing is permitted that the policy does not permit, consent is asked for by annotation, errors deny."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.gateway.judge import Principal, Question, Spend, Verdict, judge
from interlock.canonical import JsonObject, JsonValue
from tests.unit.gateway.calls import asked, policy, verdict
from tests.unit.gateway.test_provenance import JSON

ALLOW = '@id("allow") permit (principal, action == Action::"mail.send", resource);'
ASK = '@id("ask") @approval("it goes out") forbid (principal, action == Action::"mail.send", resource)'
CALL: JsonObject = {"to": ["ann@acme.test"], "body": "hello"}


def test_what_no_policy_permits_is_denied() -> None:
    other = '@id("other") permit (principal, action == Action::"mail.read", resource);'
    assert verdict(other, CALL) == Verdict("denied", (), "no policy permits it")


def test_the_policies_that_decided_are_told_by_their_ids() -> None:
    assert verdict(ALLOW, CALL) == Verdict("permitted", ("allow",))
    forbid = '@id("no") forbid (principal, action, resource);'
    assert verdict(ALLOW + forbid, CALL) == Verdict("denied", ("no",), "forbidden by the policy")


def test_a_forbid_with_approval_is_lifted_by_a_person() -> None:
    assert verdict(f"{ALLOW}{ASK};", CALL) == Verdict("needs_approval", ("ask",), "it goes out", 1)


def test_a_permit_with_approval_permits_with_a_person_only() -> None:
    cedar = '@id("maybe") @approval("new") permit (principal, action == Action::"mail.send", resource);'
    assert verdict(cedar, CALL) == Verdict("needs_approval", ("maybe",), "new", 1)


def test_a_person_lifts_no_plain_forbid_and_makes_up_for_no_missing_permit() -> None:
    assert verdict(f'{ALLOW}{ASK};@id("no") forbid (principal, action, resource);', CALL).outcome == "denied"
    assert verdict(f"{ASK};", CALL) == Verdict("denied", (), "no policy permits it")


def test_a_statement_with_approval_that_does_not_apply_asks_nobody() -> None:
    assert verdict(f"{ALLOW}{ASK} when {{ false }};", CALL) == Verdict("permitted", ("allow",))


def test_four_eyes_want_two_people_and_all_reasons_are_told() -> None:
    more = '@id("eyes") @approval("money") @four_eyes forbid (principal, action, resource);'
    found = verdict(f"{ALLOW}{ASK};{more}", CALL)
    assert found == Verdict("needs_approval", ("ask", "eyes"), "it goes out; money", 2)
    assert (
        verdict(f'{ALLOW}@id("bare") @approval forbid (principal, action, resource);', CALL).reason
        == "bare asks for a person"
    )


@pytest.mark.parametrize("note", ["", '@approval("why")'])
def test_an_error_in_any_statement_denies(note: str) -> None:
    broken = (
        f'@id("broken") {note} forbid (principal, action, resource) when {{ context.arguments.cc == "x" }};'
    )
    found = verdict(ALLOW + broken, CALL)
    assert found.outcome == "denied"
    assert found.reason == "a policy could not be evaluated: broken"


def test_an_error_that_shows_with_consent_only_denies_too() -> None:
    broken = '@id("broken") @approval("x") permit (principal, action, resource) when { context.arguments.cc == "x" };'
    assert verdict(f"{ALLOW}{ASK};{broken}", CALL).reason == "a policy could not be evaluated: broken"


def test_the_reason_never_quotes_an_argument() -> None:
    condition = 'decimal(context.arguments.body) == decimal("1.0")'
    cedar = f'{ALLOW}@id("d") forbid (principal, action, resource) when {{ {condition} }};'
    assert "secret" not in verdict(cedar, {**CALL, "body": "secret"}).reason


def test_what_is_not_cedar_denies() -> None:
    assert verdict("permit everything", CALL) == Verdict("denied", (), "the policy is not Cedar")


def test_the_context_is_what_the_documentation_says() -> None:
    cedar = """@id("all")
    permit (principal == Agent::"clerk", action == Action::"mail.send", resource == Target::"outbox")
    when {
      context.tenant == "acme" && context.workflow == "support" && context.arguments.to.contains("ann@acme.test")
      && context.provenance.to.trusted && context.provenance.to.origins == ["event"]
      && context.provenance.to.fields == ["request"] && context.provenance.to.unproven == []
      && context.provenance.body.origins.contains("model") && !context.provenance.body.trusted
      && context.provenance.body.unproven.isEmpty() && context.provenance.cc.trusted && !(context.arguments has cc)
      && context.asked.containsAll(["mail", "ann"]) && context.spend.calls == 0 && context.spend.nano_usd == 0
    };"""
    assert verdict(cedar, {**CALL, "cc": None}, asked("Mail ann@acme.test, Ann")).outcome == "permitted"


def test_a_number_is_a_decimal_where_the_contract_says_number() -> None:
    condition = 'context.arguments.price.lessThan(decimal("10.5"))'
    cedar = f'{ALLOW}@id("most") forbid (principal, action, resource) unless {{ {condition} }};'
    for price, outcome in ((10, "permitted"), (10.4999, "permitted"), (10.5, "denied"), (-0.0, "permitted")):
        question = Question(
            Principal("Agent", "a"),
            "w",
            "mail.send",
            "none",
            "t",
            {"price": price},
            decimals=frozenset({"price"}),
        )
        assert judge(policy(cedar), question).outcome == outcome


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 0.00001, 1e300, float("nan"), float("inf"), 922337203685477.6,
     {"__entity": {"type": "Agent", "id": "a"}},
     [{"__extn": {"fn": "decimal", "arg": "1.0"}}], "\ud800", "x" * 200_000, ["x"] * 3_000],
)  # fmt: skip
def test_a_value_that_cedar_has_no_type_for_denies_where_it_is_read(value: JsonValue) -> None:
    """Left out it would switch off every policy that asks ``has`` first."""
    condition = "context.arguments has cc && context.arguments.cc == 1"
    guarded = f'@id("g") forbid (principal, action, resource) when {{ {condition} }};'
    assert verdict(ALLOW + guarded, {**CALL, "cc": value}).outcome == "denied"
    assert verdict(ALLOW, {**CALL, "cc": value}).outcome == "permitted", "no policy reads it"
    present = '@id("p") forbid (principal, action, resource) unless { context.arguments has cc };'
    assert verdict(ALLOW + present, {**CALL, "cc": value}).outcome == "permitted", (
        "only that it is there is read"
    )


def test_a_value_that_is_nested_without_end_denies() -> None:
    deep: JsonValue = 1
    for _ in range(5_000):
        deep = [deep]
    reads = '@id("r") forbid (principal, action, resource) when { context.arguments.cc == 1 };'
    question = Question(Principal("Agent", "a"), "w", "mail.send", "none", "t", {"cc": deep})
    assert judge(policy(ALLOW + reads), question).outcome == "denied"


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.text(max_size=8), st.text(max_size=8))
def test_a_verdict_never_raises(arguments: JsonObject, name: str, text: str) -> None:
    condition = "context == {a: 1} || context.arguments has a"
    reads = f'@id("r") forbid (principal, action, resource) when {{ {condition} }};'
    question = Question(
        Principal("Agent", name), text, "mail.send", name, text, arguments, spend=Spend(2**70, -1)
    )
    assert judge(policy(ALLOW + reads), question).outcome in ("permitted", "denied")


STATEMENTS = [
    f'@id("s{number}") {note} {effect} (principal, action, resource) when {{ {condition} }};'
    for number, (note, effect, condition) in enumerate(
        (note, effect, condition)
        for note in ("", '@approval("a")')
        for effect in ("permit", "forbid")
        for condition in (
            "true",
            "context.arguments.copies == 1",
            "context.provenance.to.trusted",
            'context.arguments.cc == "x"',
        )
    )
]


@given(st.lists(st.sampled_from(STATEMENTS), max_size=5, unique=True), st.integers(1, 2))
def test_without_a_person_nothing_more_is_permitted(statements: list[str], copies: int) -> None:
    """What consent adds is never permitted without it, and a forbid that consent lifts always holds without it."""
    call = {**CALL, "copies": copies}
    found = verdict(_together(statements), call).outcome
    without = [one for one in statements if "@approval" not in one or " forbid " in one]
    assert (found == "permitted") == (verdict(_plain(without), call).outcome == "permitted")
    if found == "needs_approval":
        consented = [one for one in statements if "@approval" not in one or " permit " in one]
        assert verdict(_plain(consented), call).outcome == "permitted"


def _together(statements: list[str]) -> str:
    return "\n".join(statements) or "// nothing"


def _plain(statements: list[str]) -> str:
    return _together(statements).replace('@approval("a")', "")
