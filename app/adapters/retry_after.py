"""The ``Retry-After`` header (RFC 9110, section 10.2.3), which models' and targets' servers both send."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 86_400.0
"""A server that asks for more is asked again after a day."""

_DELAY = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from ``now``, at most ``LONGEST_SECONDS``; None when the header is absent or senseless.

    Takes delay-seconds (with a fraction too, as some servers send) and an HTTP-date.
    """
    if value is None:
        return None
    text = value.strip()
    if _DELAY.fullmatch(text):
        return min(float(text), LONGEST_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
        seconds = (moment - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_SECONDS)
