"""Guards: a server's wish to be left alone is understood in all its forms, and for a day at most."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.retry_after import LONGEST_SECONDS, retry_after_seconds

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("9999999999", LONGEST_SECONDS),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("1e5", None),
    ],
)
def test_the_header_is_read_in_all_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text())
def test_no_header_raises(header: str) -> None:
    found = retry_after_seconds(header, NOW)
    assert found is None or 0 <= found <= LONGEST_SECONDS
