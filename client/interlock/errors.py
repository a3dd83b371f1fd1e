"""The client's errors: each says what failed, why, and what to do, under a stable code."""

from __future__ import annotations


class ClientError(Exception):
    """The base of all errors that the client raises on purpose.

    Args:
        code: stable, also used in the HTTP API's problem details.
        what: what failed and why, one sentence without payload content.
        remedy: what the reader can do about it, one sentence.
    """

    def __init__(self, code: str, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()


class InvalidInputError(ClientError, ValueError):
    """The event, or the text it came in, breaks a rule; the same input will always be refused."""


class BrokerUnavailableError(ClientError, ConnectionError):
    """The broker did not take the message. Nothing was enqueued, and sending it again is harmless."""
