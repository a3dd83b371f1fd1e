"""The ingestion queue's messages: verified, read strictly, accepted."""

from __future__ import annotations

from collections.abc import Sequence

from app.data_plane.ingestion.accept import Accepted, IngestionService, Submission
from app.data_plane.ingestion.errors import BadSignatureError, InvalidEventError
from app.data_plane.ingestion.tenants import Tenants
from app.kernel.errors import PermanentError
from interlock import ingestion_message, strict_json
from interlock.canonical import JsonValue
from interlock.errors import InvalidInputError


def accept_message(
    service: IngestionService,
    tenants: Tenants,
    message: JsonValue,
    *,
    max_bytes: int = strict_json.MAX_BYTES,
) -> Accepted:
    """Accept the event of one message.

    Raises:
        PermanentError: it is no message, is not signed by its tenant, or its event was refused.
        TransientError: the store is not there; the message is to be delivered again.
    """
    answer = accept_messages(service, tenants, [message], max_bytes=max_bytes)[0]
    if isinstance(answer, PermanentError):
        raise answer
    return answer


def accept_messages(
    service: IngestionService,
    tenants: Tenants,
    messages: Sequence[JsonValue],
    *,
    max_bytes: int = strict_json.MAX_BYTES,
) -> list[Accepted | PermanentError]:
    """Accept the events of a batch of messages in one commit; an answer for each message, in order.

    Raises TransientError when the store is not there; the batch is to be delivered again.
    """
    opened = [_open(tenants, message, max_bytes) for message in messages]
    answers = iter(service.accept([item for item in opened if isinstance(item, Submission)]))
    return [next(answers) if isinstance(item, Submission) else item for item in opened]


def _open(tenants: Tenants, message: JsonValue, max_bytes: int) -> Submission | PermanentError:
    try:
        received = ingestion_message.read(message)
        envelope = ingestion_message.open_verified(received, tenants.signing_key, max_bytes=max_bytes)
    except InvalidInputError as error:
        return InvalidEventError(error)
    if envelope is None:
        return BadSignatureError(
            "The message is not signed or encrypted with the key of its event's tenant.",
            "Check the tenant's signing key on both sides.",
        )
    return Submission(envelope, received.workflow)
