"""What the API is wired to: bootstrap provides it, and so may a test."""

from __future__ import annotations

from typing import Protocol

from app.data_plane.ingestion.accept import IngestionService
from app.data_plane.ingestion.tenants import Tenants


class ApiServices(Protocol):
    """The services behind the API's routes."""

    @property
    def ingestion(self) -> IngestionService:
        """What accepts events."""
        ...

    @property
    def tenants(self) -> Tenants:
        """Whose credential is whose."""
        ...

    @property
    def max_body_bytes(self) -> int:
        """The longest request body that is read."""
        ...

    def check_ready(self) -> None:
        """Raises InterlockError when events cannot be accepted now."""
        ...

    def close(self) -> None:
        """Give back connections; called once, at the end."""
        ...
