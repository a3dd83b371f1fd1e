"""Guards: what a tenant calls a secret is gone from every text that has its word, and from no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.kernel.linear_pattern import LinearPattern
from app.telemetry.redaction import (
    REDACTED,
    TenantPattern,
    install_patterns,
    redact,
    redact_known,
    redact_value,
    tenant_patterns,
)
from app.telemetry.redaction.tenant_patterns import pattern_fault

BADGE = TenantPattern("badge", "badge", "badge-[0-9]{6}")
CUSTOMER = TenantPattern("customer", "ACME-", "(?:north|south)/ACME-[0-9A-F]{8}")


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    assert install_patterns({"acme": [BADGE], "other": [CUSTOMER]}) == []
    yield
    install_patterns({})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("let badge-123456 in", f"let {REDACTED} in"),
        ("badge-123456,badge-654321", f"{REDACTED},{REDACTED}"),
        ("badge-12345 is too short", "badge-12345 is too short"),
        ("the word comes later: north/ACME-DEADBEEF.", f"the word comes later: {REDACTED}."),
        ("north/acme-DEADBEEF is not how it is written", "north/acme-DEADBEEF is not how it is written"),
    ],
)
def test_every_tenants_patterns_are_sought_in_every_text(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact_value({"a": [text]}) == {"a": [shown]}


def test_what_is_derived_again_does_not_depend_on_them() -> None:
    assert redact_known("let badge-123456 in, ann@acme.test") == f"let badge-123456 in, {REDACTED}"


def test_the_newest_are_the_ones_that_count() -> None:
    install_patterns({"acme": [CUSTOMER]})
    assert redact("badge-123456 north/ACME-DEADBEEF") == f"badge-123456 {REDACTED}"


def test_a_name_that_was_seen_before_is_read_anew() -> None:
    """Names of members are kept, as they come again; what they hold must not outlive other patterns."""
    install_patterns({})
    assert redact_value({"badge-123456": 1}) == {"badge-123456": 1}
    install_patterns({"acme": [BADGE]})
    assert redact_value({"badge-123456": 1}) == {REDACTED: 1}


def test_what_cannot_be_used_is_told_and_the_others_stand() -> None:
    """A document that an older version published keeps nobody from redaction."""
    odd = [
        TenantPattern("short", "ab", "ab[0-9]"),
        TenantPattern("back", "badge", r"(badge)\1"),
        TenantPattern("empty", "badge", "[0-9]*"),
        BADGE,
    ]
    assert install_patterns({"acme": odd}) == ["acme/short", "acme/back", "acme/empty"]
    assert redact("badge-123456") == REDACTED


def test_patterns_that_are_there_already_are_neither_made_anew_nor_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are read every few seconds, in every process."""
    odd = TenantPattern("short", "ab", "ab[0-9]")
    assert install_patterns({"acme": [BADGE, odd]}) == ["acme/short"]

    def made(_pattern: str) -> LinearPattern:
        raise AssertionError("an automaton was made for a pattern that has one")

    monkeypatch.setattr(tenant_patterns, "LinearPattern", made)
    assert install_patterns({"acme": [BADGE, odd]}) == []
    assert redact("badge-123456") == REDACTED


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("", "no character"),
        ("x" * 201, "more than 200"),
        ("^badge", "tied to the beginning"),
        ("badge$", "tied to the beginning or the end"),
        (r"(badge)\1", "linear time"),
        ("(?=badge)", "linear time"),
        ("[0-9]*", "empty text"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, fault: str) -> None:
    told = pattern_fault(pattern)
    assert told is not None
    assert fault in told
