"""What ``up`` provides for the tenants that ship with Interlock, where the database is the embedded one."""

from __future__ import annotations

import os

from app.control_plane.documents import read_documents
from app.supervisor.secrets_folder import draw_missing, references
from config.settings import CHECKOUT, Settings


def provide_secrets(settings: Settings) -> tuple[str, ...]:
    """Draw the secrets that the shipped tenants' documents refer to and that are not there; returns their names.

    With a database of one's own nothing is drawn: its tenants' secrets are provided by whoever runs it.
    """
    if settings.database_url is not None:
        return ()
    tenants = [held.model.tenant for held in read_documents(CHECKOUT / "config").tenants.values()]
    return draw_missing(settings.home, references(tenants), os.environ)
