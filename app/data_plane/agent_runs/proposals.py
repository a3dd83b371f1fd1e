"""From a model's answer to a proposal, or to the reason why it is none. Pure, and it never raises."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from app.data_plane.parsing.answer import MAX_CHARACTERS, PARSER, Rejection, Repair, read_as
from interlock.canonical import JsonObject, canonical_bytes, digest_bytes

__all__ = ["MAX_CHARACTERS", "PARSER", "Proposal", "Rejection", "read_answer"]


@dataclass(frozen=True)
class Proposal:
    """What a run returns: one object that fits the stage's schema, and what was repaired to read it."""

    value: JsonObject
    repairs: tuple[Repair, ...] = ()
    parser: str = PARSER

    @cached_property
    def body(self) -> bytes:
        """The canonical bytes, as the payload store keeps them."""
        return canonical_bytes(self.value)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``body``."""
        return digest_bytes(self.body)


def read_answer(text: str, schema: JsonObject) -> Proposal | Rejection:
    """The proposal that ``text`` gives, or why it gives none.

    ``schema`` is in the subset of JSON Schema that ``app.kernel.proposal_schema`` describes.
    """
    read = read_as(text, schema)
    if isinstance(read, Rejection):
        return read
    if not isinstance(read.value, dict):
        return Rejection("", "it should be an object")
    return Proposal(read.value, read.repairs)
