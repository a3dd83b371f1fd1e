"""Errors carry their fate: whoever catches one knows at once whether to try again.

Every error says what failed, why, and what to do. ``code`` is stable: it is part of the HTTP API and of dead letters.
"""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What becomes of work that met an error."""

    TRANSIENT = "transient"
    """Try again later, with backoff."""
    PERMANENT = "permanent"
    """Trying again cannot help; a person or another input can."""
    DEFECT = "defect"
    """A fault of Interlock's own: dead letter, and an alert."""


class InterlockError(Exception):
    """The base of all errors that Interlock raises on purpose.

    Args:
        what: what failed and why, one sentence without secrets or payload content.
        remedy: what the reader can do about it, one sentence.
    """

    fate: Fate = Fate.DEFECT
    code: str = "defect"
    http_status: int = 500

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()


class TransientError(InterlockError):
    """It failed now and may work later (a server is down, a limit is met)."""

    fate = Fate.TRANSIENT
    code = "unavailable"
    http_status = 503

    def __init__(self, what: str, remedy: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(what, remedy)
        self.retry_after_seconds = retry_after_seconds


class PermanentError(InterlockError):
    """It will fail again in the same way (bad input, a refusal)."""

    fate = Fate.PERMANENT
    code = "invalid"
    http_status = 422


class DefectError(InterlockError):
    """A promise between two parts of Interlock was broken."""

    fate = Fate.DEFECT
    code = "defect"
    http_status = 500


class NotFoundError(PermanentError):
    """Nothing goes by that name or id."""

    code = "not_found"
    http_status = 404


class ConflictError(PermanentError):
    """Something else already stands under that name or id."""

    code = "conflict"
    http_status = 409
