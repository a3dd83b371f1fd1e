"""Format 2 of the message to ingestion: the envelope encrypted, so that the broker holds nothing to read.

AES-256-GCM (NIST SP 800-38D) under a key derived from the tenant's signing key (HKDF-SHA256, RFC 5869). Its tag takes
the place of format 1's signature: it covers the ciphertext and, as associated data, every other field; whoever can make
it has the tenant's key. Needs the client's extra ``encryption``, and is imported only where it is used.

Nonces are random, 96 bits: change a tenant's signing key before it has sealed 2^32 events. An event's length shows.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock.canonical import JsonValue, canonical_bytes

FORMAT = 2
NONCE_BYTES = 12
_TAG_BYTES = 16
_INFO = b"interlock ingestion message, format 2, AES-256-GCM"


class NotSealedError(ValueError):
    """The message was not sealed with this key, or was changed since."""


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """What the task ``interlock.ingestion.accept`` is called with when the envelope is encrypted.

    Args:
        tenant: whose key opens it, in clear; the envelope names it again.
        workflow: the one workflow asked for, or None to route by subscription.
        key_id: tells which key sealed it, without telling the key.
        ciphertext: of the envelope's canonical JSON, with the tag.
    """

    tenant: str
    workflow: str | None
    key_id: str
    nonce: bytes
    ciphertext: bytes

    @property
    def size(self) -> int:
        """Bytes of the envelope within."""
        return len(self.ciphertext) - _TAG_BYTES

    def opened_with(self, key: bytes) -> bytes:
        """The envelope's bytes. Raises NotSealedError."""
        try:
            return _cipher(key).decrypt(self.nonce, self.ciphertext, self._associated())
        except InvalidTag:
            raise NotSealedError("The message was not sealed with this key, or was changed since.") from None

    def to_json(self) -> dict[str, JsonValue]:
        """The message as JSON, the task's only argument."""
        return {
            **self._clear(),
            "nonce": base64.b64encode(self.nonce).decode(),
            "ciphertext": base64.b64encode(self.ciphertext).decode(),
        }

    def _clear(self) -> dict[str, JsonValue]:
        return {"format": FORMAT, "tenant": self.tenant, "workflow": self.workflow, "key_id": self.key_id}

    def _associated(self) -> bytes:
        return canonical_bytes(self._clear())


def seal(
    body: bytes, *, tenant: str, workflow: str | None, key: bytes, key_id: str, nonce: bytes
) -> SealedMessage:
    """The envelope's bytes, sealed. ``nonce`` is never used twice with one key: whoever seals draws it at random."""
    empty = SealedMessage(tenant, workflow, key_id, nonce, b"")
    ciphertext = _cipher(key).encrypt(nonce, body, empty._associated())
    return SealedMessage(tenant, workflow, key_id, nonce, ciphertext)


def decoded(tenant: str, workflow: str | None, key_id: str, nonce: str, ciphertext: str) -> SealedMessage:
    """The message of these texts. Raises ValueError when they cannot be those of a sealed message."""
    try:
        drawn, sealed = (base64.b64decode(text, validate=True) for text in (nonce, ciphertext))
    except binascii.Error as error:
        raise ValueError("The nonce or the ciphertext is not base64.") from error
    if not (tenant.isascii() and key_id.isascii()):
        raise ValueError("The tenant or the key's name is not ASCII.")
    if len(drawn) != NONCE_BYTES or len(sealed) < _TAG_BYTES:
        raise ValueError("The nonce or the ciphertext has a wrong length.")
    return SealedMessage(tenant, workflow, key_id, drawn, sealed)


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(key))
