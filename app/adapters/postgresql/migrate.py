"""Bring a database to the newest schema. Safe to run from several processes at once: one does it, the others wait."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config

from app.kernel.errors import TransientError

_LOCK = 0x696E7465726C6F63  # "interloc": the advisory lock that lets one process migrate at a time


def upgrade(database_url: str) -> str:
    """Apply all migrations that are missing; returns the revision that the database is at.

    Raises:
        TransientError: code ``unavailable``, when the database cannot be reached.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = sqlalchemy.create_engine(_with_driver(database_url), poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            revision = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version"))
            return str(revision.scalar_one())
    except sqlalchemy.exc.OperationalError as error:
        raise TransientError(
            f"The database cannot be reached for its migration: {type(error.orig).__name__}.",
            "Check INTERLOCK_DATABASE_URL and that the server is up.",
        ) from error
    finally:
        engine.dispose()


def _with_driver(url: str) -> str:
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url
