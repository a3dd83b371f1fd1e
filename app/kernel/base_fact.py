"""What every fact has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class BaseFact(BaseModel):
    """What every fact has: a kind, and whether it came from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    outside: ClassVar[bool] = True
