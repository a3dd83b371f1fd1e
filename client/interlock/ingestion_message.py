"""The client's message to ingestion: an envelope, the workflow asked for, and the tenant's signature.

The envelope travels as text: the signature covers exact bytes, and no decoder in between interprets it.
Access to the broker alone forges nothing: without the tenant's key there is no valid signature.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from interlock import strict_json
from interlock.attributes import invalid
from interlock.canonical import JsonValue, canonical_bytes
from interlock.envelope import Envelope, from_bytes
from interlock.errors import InvalidInputError

FORMAT = 1
_WORKFLOW = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FIELDS = frozenset({"format", "envelope", "workflow", "key_id", "signature"})


@dataclass(frozen=True, slots=True)
class IngestionMessage:
    """What the task ``interlock.ingestion.accept`` is called with.

    Args:
        envelope: the event's canonical JSON, as text.
        workflow: the one workflow asked for, or None to route by subscription.
        key_id: tells which key signed, without telling the key.
        signature: HMAC-SHA256 over the canonical JSON of the other fields, in hexadecimal.
    """

    envelope: str
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


def read(value: JsonValue) -> IngestionMessage:
    """The message that ``value`` is. Raises InvalidInputError ``not_a_message``."""
    if isinstance(value, dict) and set(value) == _FIELDS and value["format"] == FORMAT:
        envelope, workflow = value["envelope"], value["workflow"]
        name, signature = value["key_id"], value["signature"]
        if isinstance(envelope, str) and isinstance(name, str) and isinstance(signature, str):
            check_workflow(workflow)
            return IngestionMessage(envelope, workflow, name, signature)
    raise InvalidInputError(
        "not_a_message",
        f"The message is not an ingestion message of format {FORMAT}.",
        "Send it with interlock.enqueue.Client of a matching version.",
    )


def key_id(key: bytes) -> str:
    """A name for a key: 16 hexadecimal characters that tell nothing of it."""
    return hmac.new(key, b"interlock key id", hashlib.sha256).hexdigest()[:16]


def check_workflow(workflow: JsonValue) -> None:
    """Raises InvalidInputError unless ``workflow`` is None or may name a workflow."""
    if workflow is not None and not (isinstance(workflow, str) and _WORKFLOW.fullmatch(workflow)):
        raise invalid("The workflow's name", "is not 1 to 63 lower-case letters, digits, - or _")


def _signature(envelope: str, workflow: str | None, name: str, key: bytes) -> str:
    signed = canonical_bytes({"format": FORMAT, "envelope": envelope, "workflow": workflow, "key_id": name})
    return hmac.new(key, signed, hashlib.sha256).hexdigest()
