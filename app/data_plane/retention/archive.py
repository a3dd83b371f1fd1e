"""What an archive holds: orchestrations with their rows' exact bytes, so that it stays evidence.

An archive is JSON lines: one orchestration a line, and a last line with the SHA-256 of all lines before it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict

from app.data_plane.audit.anchors import Head
from app.data_plane.audit.chains import Fault, JournalRow, check_orchestration
from interlock.canonical import JsonObject, digest_bytes

Rows = Mapping[str, tuple[JsonObject, ...]]
"""By table: its rows, each column as PostgreSQL writes it in JSON."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One orchestration with everything that is kept of it.

    Args:
        head_seq: how many facts its row says there are.
        facts: its own chain and its runs', in the order of (chain, seq).
        contents: what its facts name, by digest; what is absent was erased before.
    """

    orchestration_id: str
    tenant_id: str
    head_seq: int
    head_hash: bytes
    rows: Rows
    facts: tuple[JournalRow, ...]
    contents: Mapping[str, bytes]

    def heads(self) -> list[Head]:
        """The last fact of each of its chains."""
        last = {chain: Head(chain, seq, digest) for chain, seq, _, _, digest, _ in self.facts}
        return list(last.values())

    def fault(self) -> Fault | None:
        """The first thing of it that is not what it was."""
        head = (self.tenant_id, self.head_seq, self.head_hash)
        found = check_orchestration(self.orchestration_id, head, self.facts)
        wrong = (name for name, body in self.contents.items() if digest_bytes(body) != name)
        return found or next(
            (Fault(f"content {name}", None, "it is not what its digest says") for name in wrong), None
        )


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Fact(_Line):
    seq: int
    tenant_id: str
    body: str
    """Base64 of the exact bytes."""
    hash: str
    written_in: int | None


class _Orchestration(_Line):
    kind: Literal["orchestration"] = "orchestration"
    orchestration_id: str
    tenant_id: str
    head_seq: int
    head_hash: str
    rows: dict[str, list[dict[str, object]]]
    chains: dict[str, list[_Fact]]
    contents: dict[str, str]


class End(_Line):
    """The last line."""

    kind: Literal["end"] = "end"
    orchestrations: int
    facts: int
    digest: str
    """SHA-256 of all bytes before this line."""


def write_kept(kept: Kept) -> bytes:
    """One line, without its end of line."""
    chains: dict[str, list[JsonObject]] = {}
    for chain, seq, tenant, body, digest, written_in in kept.facts:
        chains.setdefault(chain, []).append(
            {
                "seq": seq,
                "tenant_id": tenant,
                "body": b64encode(body).decode(),
                "hash": digest.hex(),
                "written_in": written_in,
            }
        )
    line: JsonObject = {
        "kind": "orchestration",
        "orchestration_id": kept.orchestration_id,
        "tenant_id": kept.tenant_id,
        "head_seq": kept.head_seq,
        "head_hash": kept.head_hash.hex(),
        "rows": {table: list(rows) for table, rows in kept.rows.items()},
        "chains": {chain: list(facts) for chain, facts in chains.items()},
        "contents": {name: b64encode(body).decode() for name, body in kept.contents.items()},
    }
    return orjson.dumps(line, option=orjson.OPT_SORT_KEYS)


def read_kept(raw: bytes) -> Kept | End:
    """A line again. Raises pydantic.ValidationError, ValueError for what is none."""
    if orjson.loads(raw).get("kind") == "end":
        return End.model_validate_json(raw)
    line = _Orchestration.model_validate_json(raw)
    return Kept(
        orchestration_id=line.orchestration_id,
        tenant_id=line.tenant_id,
        head_seq=line.head_seq,
        head_hash=bytes.fromhex(line.head_hash),
        rows={table: tuple(rows) for table, rows in line.rows.items()},  # type: ignore[arg-type]
        facts=tuple(_facts(line.chains)),
        contents={name: b64decode(body) for name, body in line.contents.items()},
    )


def _facts(chains: Mapping[str, list[_Fact]]) -> Iterator[JournalRow]:
    for chain, facts in sorted(chains.items()):
        for fact in facts:
            body = b64decode(fact.body)
            yield (chain, fact.seq, fact.tenant_id, body, bytes.fromhex(fact.hash), fact.written_in)


def write_end(orchestrations: int, facts: int, digest: str) -> bytes:
    """The last line, without its end of line."""
    return End(orchestrations=orchestrations, facts=facts, digest=digest).model_dump_json().encode()


def named_digests(body: bytes) -> set[str]:
    """The digests of content that a fact names, whatever kind it is of; those of other things are no content's."""
    fact = orjson.loads(body)["fact"]
    return {
        value for key, value in fact.items() if key.endswith("_digest") and isinstance(value, str) and value
    }
