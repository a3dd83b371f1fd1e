"""Content by digest: what pure code may read, and what it wants kept."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from app.kernel.errors import DefectError, PermanentError
from interlock.canonical import JsonObject, JsonValue, canonical_bytes, digest_bytes


class ContentChangedError(PermanentError):
    """Somebody has written to the payload store: the bytes are not those that were recorded."""

    code = "content_changed"

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"The content {digest[:12]} is not what was recorded: its bytes have another digest.",
            "Find out who changed it (`python -m app audit verify`), and start the event anew.",
        )


class Contents:
    """The contents that one unit of work has at hand, and those that it adds.

    Reading is by digest, so it cannot see anything else than what the facts name.
    """

    def __init__(self, loaded: Mapping[str, bytes]) -> None:
        self._loaded = loaded
        self._values: dict[str, JsonValue] = {}
        self._checked: set[str] = set()
        self.added: dict[str, bytes] = {}

    def with_more(self, more: Mapping[str, bytes]) -> dict[str, bytes]:
        """What was loaded, and these as well."""
        return {**self._loaded, **more}

    def all(self) -> dict[str, bytes]:
        """What was loaded, and what was added."""
        return {**self._loaded, **self.added}

    def were_kept(self) -> None:
        """What was added is in the store now; it can be read on."""
        self._loaded = {**self._loaded, **self.added}
        self.added = {}

    def value(self, digest: str) -> JsonValue:
        """The JSON value of that digest. Raises DefectError when it was not loaded."""
        if digest not in self._values:
            self._values[digest] = orjson.loads(self.body(digest))
        return self._values[digest]

    def object(self, digest: str) -> JsonObject:
        """The JSON object of that digest. Raises DefectError for anything else."""
        value = self.value(digest)
        if not isinstance(value, Mapping):
            raise DefectError(f"The content {digest[:12]} is not a JSON object.")
        return value

    def body(self, digest: str) -> bytes:
        """The bytes of that digest. Raises DefectError without any, ContentChangedError when theirs is another."""
        body = self.added.get(digest, self._loaded.get(digest))
        if body is None:
            raise DefectError(
                f"The payload store holds no content {digest[:12]}.",
                "It was erased, or written by another tenant: look at `runs explain`.",
            )
        if digest not in self._checked:
            # Nothing is decided on, shown to a person or sent but what was recorded, whoever wrote to the store since.
            if digest_bytes(body) != digest:
                raise ContentChangedError(digest)
            self._checked.add(digest)
        return body

    def add(self, value: JsonValue) -> str:
        """Keep a JSON value; returns its digest."""
        return self.add_bytes(canonical_bytes(value))

    def add_bytes(self, body: bytes) -> str:
        """Keep bytes as they are; returns their digest."""
        name = digest_bytes(body)
        self.added[name] = body
        return name
