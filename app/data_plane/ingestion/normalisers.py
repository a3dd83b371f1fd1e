"""Which normaliser reads which event. Each is pure and versioned; its name is recorded with what it made."""

from __future__ import annotations

from app.data_plane.ingestion import github_event, github_normaliser, interlock_normaliser
from app.data_plane.ingestion.domain_event import DomainEvent
from interlock.envelope import Envelope


def normalise(envelope: Envelope) -> tuple[str, DomainEvent]:
    """The normaliser's name and version, and what it made of the event.

    Raises:
        UnknownTypeError: no normaliser reads the event's type.
        UnknownSchemaVersionError, InvalidDataError: the data is not what its type and schema say.
    """
    if envelope.type.startswith(github_event.TYPE_PREFIX):
        return github_normaliser.NAME, github_normaliser.normalise(envelope)
    if envelope.type.startswith(interlock_normaliser.TYPE_PREFIX):
        return interlock_normaliser.NAME, interlock_normaliser.normalise(envelope)
    raise interlock_normaliser.unknown_type()
