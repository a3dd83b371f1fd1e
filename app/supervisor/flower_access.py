"""Who may look at Flower: nobody without a password, however it was started.

Flower reads it from here through ``dashboards/flower.py``, so that it stands in no process's arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.adapters.secrets import ReferencedSecrets, SecretUnavailableError

USER = "operator"
SECRET = "flower"  # noqa: S105 - its name
REFERENCE = f"secret:{SECRET}"
VARIABLE = "FLOWER_BASIC_AUTH"
"""Flower's own: ``name:password``, or several separated by commas. Where it is set, nothing else counts."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in, and where the password is; never the password."""

    user: str
    password: str
    """A variable's name or a file's path."""

    def __str__(self) -> str:
        if self.password == VARIABLE:
            return f"as {VARIABLE} says"
        return f"user {self.user}, password in {self.password}"


def basic_auth(environment: Mapping[str, str], home: Path) -> list[str]:
    """What Flower compares a sender's name and password with.

    Raises:
        SecretUnavailableError: there is no password, or the variable does not have the form ``name:password``.
    """
    if VARIABLE not in environment:
        return [f"{USER}:{ReferencedSecrets(environment, home).resolve(REFERENCE)}"]
    pairs = environment[VARIABLE].split(",")
    if not all(name and password for name, _, password in (pair.strip().partition(":") for pair in pairs)):
        raise SecretUnavailableError(
            f"{VARIABLE} is empty or not of the form name:password.",
            f"Set it so, or unset it and provide {REFERENCE}.",
        )
    return pairs


def access(environment: Mapping[str, str], home: Path) -> Access:
    """Where an operator finds the password of the Flower that runs in this folder."""
    if VARIABLE in environment:
        return Access("", VARIABLE)
    variable = f"INTERLOCK_SECRET_{SECRET.upper()}"
    return Access(USER, variable if variable in environment else str(home / "secrets" / SECRET))
