"""What ``up`` provides: for the shipped tenants, where the database is the embedded one, and for Flower."""

from __future__ import annotations

import os

from app.control_plane.documents import read_documents
from app.supervisor import flower_access
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


def provide_flower_password(settings: Settings) -> None:
    """Draw the password that Flower asks for, unless there is one already, whatever the database."""
    if flower_access.VARIABLE not in os.environ:
        draw_missing(settings.home, [flower_access.REFERENCE], os.environ)
