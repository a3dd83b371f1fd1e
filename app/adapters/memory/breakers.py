"""Breakers that are always closed: for tests, and where there is no Redis."""

from __future__ import annotations

from app.data_plane.models import Admission, Told
from app.kernel.release import RemoteProvider


class ClosedBreakers:
    """``Breakers`` that let everything through."""

    async def admit(self, provider: RemoteProvider) -> Admission:  # noqa: ARG002 - the port says so
        """Always."""
        return Admission(admitted=True)

    async def tell(self, provider: RemoteProvider, admission: Admission, told: Told) -> None:
        """Nothing is learnt."""
