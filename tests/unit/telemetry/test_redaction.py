"""Guards: what goes and what stays, example by example; the kinds and the attacks have files of their own."""

from __future__ import annotations

import pytest

from app.telemetry.redaction import REDACTED, redact, redact_value

PLANTED = [
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 9,
    "glpat-" + "a1B2c3D4e5F6g7H8",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "sk-proj-" + "a1B2" * 6,
    "xoxb-" + "1234567890-abc",
    "whsec_" + "a1B2" * 6,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", PLANTED, ids=lambda secret: secret[:10])
def test_a_secret_of_a_known_form_is_not_in_the_text_any_more(secret: str) -> None:
    shown = redact(f"before {secret} after")
    assert secret not in shown
    assert shown == f"before {REDACTED} after"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:hunter2@db/x", f"postgresql://{REDACTED}@db/x"),
        ("redis://:hunter2@cache:6379/0", f"redis://{REDACTED}@cache:6379/0"),
        ("Authorization: Bearer hunter2hunter2", f"Authorization: Bearer {REDACTED}"),
        ("password=hunter2 user=app", f"password={REDACTED} user=app"),
        ('{"client_secret": "hunter2", "a": 1}', f'{{"client_secret": "{REDACTED}", "a": 1}}'),
        ("API-KEY: hunter2", f"API-KEY: {REDACTED}"),
    ],
)
def test_a_secret_is_known_by_what_stands_before_it(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the token expired, ask for a new password",
        "https://example.com/a:b?x=1",
        "orc_0123456789abcdef0123456789abcdef",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "a basic question about the api",
        "order 4111111111111112 of 4111 1111 1111 1112",
        "GB82 WEST 1234 5698 7654 33 is no account",
        "icon@2x.png, agent_runs@worker-1.internal, git@github.com:octo/x.git",
        "routing_key=agent_runs max_tokens=4096 token_count=12",
        "look at secret:demo-api-key, env:NAME or file:/run/x",
        "password = getpass(prompt), token: str | None = None",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_values_are_redacted_by_the_names_they_stand_under() -> None:
    shown = redact_value(
        {
            "Authorization": "x",
            "set-cookie": ["a", "b"],
            "db": {"password": {"value": "hunter2"}},
            "input_tokens": 12,
            "idempotency_key": "key_1",
            "note": "see ghp_" + "a1B2" * 9,
        }
    )
    assert shown == {
        "Authorization": REDACTED,
        "set-cookie": REDACTED,
        "db": {"password": REDACTED},
        "input_tokens": 12,
        "idempotency_key": "key_1",
        "note": f"see {REDACTED}",
    }
