"""What is told of a message that ingestion refused: whose it is when its tenant sent it, and never what it says."""

from __future__ import annotations

from app.data_plane.dead_letters.letters import Cause
from app.data_plane.dead_letters.reports import Report
from app.data_plane.ingestion.tenants import Tenants
from app.data_plane.ports import Queue
from app.kernel.clock import Clock, to_text
from app.kernel.errors import PermanentError
from interlock import ingestion_message, strict_json
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes, digest_bytes
from interlock.errors import InvalidInputError

TASK = "interlock.ingestion.accept"


def refusal(
    tenants: Tenants,
    message: JsonValue,
    error: PermanentError,
    clock: Clock,
    *,
    max_bytes: int = strict_json.MAX_BYTES,
) -> Report:
    """The report of a refused message, sealed by its tenant if that tenant has sent the message."""
    body = _body(message)
    report = Report(
        cause=Cause.REJECTED_MESSAGE,
        code=error.code,
        fate=error.fate,
        queue=Queue.INGESTION.value,
        task=TASK,
        digest=digest_bytes(body),
        size=len(body),
        at=to_text(clock.now()),
    )
    try:
        received = ingestion_message.read(message)
        envelope = ingestion_message.open_verified(received, tenants.signing_key, max_bytes=max_bytes)
    except InvalidInputError:
        return report
    key = tenants.signing_key(envelope.tenantid) if envelope is not None else None
    if envelope is None or key is None:
        return report
    return report.model_copy(update={"tenant": envelope.tenantid, "event_id": envelope.id}).sealed(key)


def _body(message: JsonValue) -> bytes:
    try:
        return canonical_bytes(message)
    except NotCanonicalError:
        return ascii(message).encode()
