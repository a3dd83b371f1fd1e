"""How long to wait before something is tried again: pure, so that one try has one wait wherever it is computed."""

from __future__ import annotations

from interlock.canonical import digest


def spread(longest: float, key: str, attempt: int) -> float:
    """Seconds from half of ``longest`` to all of it, by the key, so that what failed together is not repeated together.

    Args:
        key: whose wait it is.
        attempt: which one; another has another place.
    """
    place = int(digest([key, attempt])[:8], 16) / 0xFFFFFFFF
    return longest * (0.5 + place / 2)
