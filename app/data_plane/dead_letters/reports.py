"""Reports: what a process tells, over the queue ``dead_letter``, of a message that it could not work on.

A report has no content: digest and size of the body, where it was, what it asked for, and ids that are ids. Whoever can
write to the broker can write reports, so that a tenant is only believed where it can be checked: when a named step is
that tenant's, or when the report is sealed with the tenant's signing key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.data_plane.dead_letters.letters import Cause
from app.kernel.errors import Fate
from app.telemetry.redaction import redact
from interlock.canonical import JsonObject, canonical_bytes, digest_bytes

MOST_NAMES = 64
"""How many steps or orchestrations one report names: as many as one message carries."""

MessageCause = Literal[
    Cause.FAILED_STEP,
    Cause.LOST_WORKER,
    Cause.TIME_LIMIT,
    Cause.UNKNOWN_TASK,
    Cause.UNDECODABLE_MESSAGE,
    Cause.REJECTED_MESSAGE,
]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$|^$")]
Id = Annotated[str, Field(pattern=r"^(adv|run|agg|act|rpl|orc)_[0-9a-f]{32}$")]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_ID = re.compile(r"(?:adv|run|agg|act|rpl|orc)_[0-9a-f]{32}")
_SEALED_FOR = b"interlock dead letter report\n"


class Report(BaseModel):
    """One message that gave up outside a transaction."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    cause: MessageCause
    code: Code
    fate: Fate
    queue: Name
    task: Name = ""
    """What it asked for, as far as that reads like a task's name."""
    digest: Digest
    """SHA-256 of the body as it came."""
    size: Annotated[int, Field(ge=0, le=1 << 40)]
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
    names: Annotated[tuple[Id, ...], Field(max_length=MOST_NAMES)] = ()
    """The steps and orchestrations that it named."""
    tenant: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$|^$")] = ""
    event_id: Annotated[str, Field(max_length=1024)] = ""
    seal: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$|^$")] = ""

    def sealed(self, key: bytes) -> Report:
        """The report with the seal of the tenant whose signing key this is."""
        return self.model_copy(update={"seal": self._seal(key)})

    def is_sealed_by(self, key: bytes) -> bool:
        """Whether ``key`` made the seal; compared in constant time."""
        return hmac.compare_digest(self._seal(key).encode(), self.seal.encode())

    def to_json(self) -> JsonObject:
        """The report as the task's argument."""
        body: JsonObject = self.model_dump(mode="json")
        return body

    def _seal(self, key: bytes) -> str:
        signed = canonical_bytes({name: value for name, value in self.to_json().items() if name != "seal"})
        return hmac.new(key, _SEALED_FOR + signed, hashlib.sha256).hexdigest()


def readable_name(value: object) -> str:
    """``value`` if it reads like the name of a task or a queue, and like no secret; else nothing."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return ""
    return value if redact(value) == value else ""


def readable_ids(values: Iterable[object]) -> tuple[str, ...]:
    """Those of the values that are ids of steps or orchestrations, each once, up to ``MOST_NAMES``."""
    found = (value for value in values if isinstance(value, str) and _ID.fullmatch(value))
    return tuple(dict.fromkeys(found))[:MOST_NAMES]


def digest_of(body: bytes | str | None) -> str:
    """SHA-256 of a message's body as it came."""
    if isinstance(body, str):
        return digest_bytes(body.encode("utf-8", "surrogatepass"))
    return digest_bytes(body or b"")
