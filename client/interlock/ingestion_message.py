"""The client's message to ingestion: an envelope, the workflow asked for, and the proof that its tenant sent it.

Format 1 is signed: the envelope travels as text, the signature covers exact bytes, and no decoder in between interprets
it. Format 2 is encrypted (``interlock.sealing``). Access to the broker alone forges neither, and reads no envelope of
format 2. A service reads both; one that knows format 1 alone refuses the other (``not_a_message``): upgrade it first.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from interlock import strict_json
from interlock.attributes import invalid
from interlock.canonical import JsonValue, canonical_bytes
from interlock.envelope import Envelope, from_bytes
from interlock.errors import InvalidInputError

if TYPE_CHECKING:
    from interlock.sealing import SealedMessage

FORMAT = 1
SEALED_FORMAT = 2
_WORKFLOW = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FIELDS = frozenset({"format", "envelope", "workflow", "key_id", "signature"})
_SEALED_FIELDS = frozenset({"format", "tenant", "workflow", "key_id", "nonce", "ciphertext"})

KeyOf = Callable[[str], bytes | None]
"""The signing key of a tenant; None for one that has none, or is not known."""


@dataclass(frozen=True, slots=True)
class IngestionMessage:
    """What the task ``interlock.ingestion.accept`` is called with when the envelope is signed.

    Args:
        envelope: the event's canonical JSON, as text.
        workflow: the one workflow asked for, or None to route by subscription.
        key_id: tells which key signed, without telling the key.
        signature: HMAC-SHA256 over the canonical JSON of the other fields, in hexadecimal.
    """

    envelope: str = field(repr=False)
    workflow: str | None
    key_id: str
    signature: str

    def is_signed_by(self, key: bytes) -> bool:
        """Whether ``key`` made the signature; compared in constant time."""
        expected = _signature(self.envelope, self.workflow, self.key_id, key)
        return hmac.compare_digest(expected.encode(), self.signature.encode())

    def open(self, *, max_bytes: int = strict_json.MAX_BYTES) -> Envelope:
        """The envelope, read strictly. Raises InvalidInputError with the codes of ``envelope.from_bytes``."""
        return from_bytes(self.envelope.encode("utf-8", "surrogatepass"), max_bytes=max_bytes)

    def to_json(self) -> dict[str, JsonValue]:
        """The message as JSON, the task's only argument."""
        return {
            "format": FORMAT,
            "envelope": self.envelope,
            "workflow": self.workflow,
            "key_id": self.key_id,
            "signature": self.signature,
        }


def sign(envelope: Envelope, workflow: str | None, key: bytes, *, max_bytes: int) -> IngestionMessage:
    """The signed message, after checking that the service will be able to read the envelope.

    Raises InvalidInputError with the codes of ``Envelope.to_bytes`` and ``strict_json.read``.
    """
    check_workflow(workflow)
    body = envelope.to_bytes()
    strict_json.read(body, max_bytes=max_bytes)
    text, name = body.decode("utf-8"), key_id(key)
    return IngestionMessage(text, workflow, name, _signature(text, workflow, name, key))


def sealed(
    envelope: Envelope, workflow: str | None, key: bytes, *, max_bytes: int, nonce: bytes
) -> SealedMessage:
    """The encrypted message; ``nonce`` is 12 bytes drawn at random for it alone.

    Raises as ``sign`` does, and ImportError where the extra ``encryption`` is not installed.
    """
    from interlock import sealing

    check_workflow(workflow)
    body = envelope.to_bytes()
    strict_json.read(body, max_bytes=max_bytes)
    return sealing.seal(
        body, tenant=envelope.tenantid, workflow=workflow, key=key, key_id=key_id(key), nonce=nonce
    )


def read(value: JsonValue) -> IngestionMessage | SealedMessage:
    """The message that ``value`` is. Raises InvalidInputError ``not_a_message``."""
    if isinstance(value, dict):
        if set(value) == _FIELDS and value["format"] == FORMAT:
            return _signed(value)
        if set(value) == _SEALED_FIELDS and value["format"] == SEALED_FORMAT:
            return _sealed(value)
    raise _not_a_message()


def open_verified(
    message: IngestionMessage | SealedMessage, key_of: KeyOf, *, max_bytes: int = strict_json.MAX_BYTES
) -> Envelope | None:
    """The message's envelope; None when its tenant has not sent it.

    Raises InvalidInputError with the codes of ``envelope.from_bytes``.
    """
    if isinstance(message, IngestionMessage):
        envelope = message.open(max_bytes=max_bytes)
        key = key_of(envelope.tenantid)
        return envelope if key is not None and message.is_signed_by(key) else None
    from interlock.sealing import NotSealedError

    if message.size > max_bytes:
        raise strict_json.too_large(max_bytes)
    key = key_of(message.tenant)
    if key is None:
        return None
    try:
        body = message.opened_with(key)
    except NotSealedError:
        return None
    envelope = from_bytes(body, max_bytes=max_bytes)
    return envelope if envelope.tenantid == message.tenant else None


def _signed(value: dict[str, JsonValue]) -> IngestionMessage:
    envelope, workflow = value["envelope"], value["workflow"]
    name, signature = value["key_id"], value["signature"]
    if isinstance(envelope, str) and isinstance(name, str) and isinstance(signature, str):
        return IngestionMessage(envelope, _checked(workflow), name, signature)
    raise _not_a_message()


def _sealed(value: dict[str, JsonValue]) -> SealedMessage:
    from interlock import sealing

    tenant, name, nonce, ciphertext = (value[field] for field in ("tenant", "key_id", "nonce", "ciphertext"))
    if (
        isinstance(tenant, str)
        and isinstance(name, str)
        and isinstance(nonce, str)
        and isinstance(ciphertext, str)
    ):
        workflow = _checked(value["workflow"])
        try:
            return sealing.decoded(tenant, workflow, name, nonce, ciphertext)
        except ValueError:
            raise _not_a_message() from None
    raise _not_a_message()


def _not_a_message() -> InvalidInputError:
    return InvalidInputError(
        "not_a_message",
        f"The message is not an ingestion message of format {FORMAT} or {SEALED_FORMAT}.",
        "Send it with interlock.enqueue.Client of a matching version.",
    )


def key_id(key: bytes) -> str:
    """A name for a key: 16 hexadecimal characters that tell nothing of it."""
    return hmac.new(key, b"interlock key id", hashlib.sha256).hexdigest()[:16]


def check_workflow(workflow: JsonValue) -> None:
    """Raises InvalidInputError unless ``workflow`` is None or may name a workflow."""
    _checked(workflow)


def _checked(workflow: JsonValue) -> str | None:
    if workflow is None or (isinstance(workflow, str) and _WORKFLOW.fullmatch(workflow)):
        return workflow
    raise invalid("The workflow's name", "is not 1 to 63 lower-case letters, digits, - or _")


def _signature(envelope: str, workflow: str | None, name: str, key: bytes) -> str:
    signed = canonical_bytes({"format": FORMAT, "envelope": envelope, "workflow": workflow, "key_id": name})
    return hmac.new(key, signed, hashlib.sha256).hexdigest()
