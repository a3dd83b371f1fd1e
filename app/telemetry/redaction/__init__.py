"""Redaction: one function in front of logs, spans, errors, dead letters and the console.

``rules`` says what a secret looks like, ``names`` what it is called, ``personal`` what is a person's; ``redact``
applies them. Redacting twice is redacting once. It never raises: what it cannot read it replaces.
"""

from __future__ import annotations

from app.telemetry.redaction.redact import (
    REDACTED,
    install_patterns,
    redact,
    redact_known,
    redact_value,
    switch_off,
)
from app.telemetry.redaction.tenant_patterns import TenantPattern

__all__ = [
    "REDACTED",
    "TenantPattern",
    "install_patterns",
    "redact",
    "redact_known",
    "redact_value",
    "switch_off",
]
