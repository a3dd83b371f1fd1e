"""What every part of a document is made of: names, expressions, and a frozen model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
ToolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}\.[a-z][a-z0-9_]{0,40}$")]
Expression = Annotated[str, Field(min_length=1, max_length=1000)]
"""A CEL expression over ``event``, ``snapshot`` and ``stages``; its length is capped because CEL has no step limit."""


class Frozen(BaseModel):
    """A document or a part of one: unknown fields are refused, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that forgets what was derived from the original, such as its digest."""
        copy = super().model_copy(update=update, deep=deep)
        for derived in set(copy.__dict__) - set(type(self).model_fields):
            del copy.__dict__[derived]
        return copy


def absent(value: object) -> bool:
    """Leaves a field that was added to a document out of its digest where it is not used."""
    return value is None


def empty(value: object) -> bool:
    """As ``absent``, of a field that is a collection, a flag, a number or text."""
    return not value
