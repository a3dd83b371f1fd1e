"""Secrets by reference: documents name a secret, and only the process that needs it reads the value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from app.kernel.errors import PermanentError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/-]{0,100}")
_LARGEST_BYTES = 65_536


class SecretUnavailableError(PermanentError):
    """A reference leads to no secret. The message names the reference, never a value."""

    code = "secret_unavailable"
    http_status = 503


class Secrets(Protocol):
    """Where secrets come from."""

    def resolve(self, reference: str) -> str:
        """The value behind ``reference``. Raises SecretUnavailableError."""
        ...


class ReferencedSecrets:
    """Resolves ``env:NAME``, ``file:PATH`` and ``secret:NAME``.

    ``secret:NAME`` is the variable ``INTERLOCK_SECRET_<NAME>`` (upper case, ``-`` and ``/`` as ``_``) or else
    the file ``<home>/secrets/<NAME>``. White space around a value, such as a last newline, is no part of it.

    Args:
        environment: the process's environment variables.
        home: the run folder.
    """

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._environment = environment
        self._folder = home / "secrets"

    def resolve(self, reference: str) -> str:
        """The value behind ``reference``; read anew each time, so that a rotated secret counts at once.

        Raises:
            SecretUnavailableError: nothing is there, it is empty, or the reference is of no known kind.
        """
        kind, _, name = reference.partition(":")
        if kind == "env" and name:
            return self._from_variable(reference, name)
        if kind == "file" and name:
            return self._from_file(reference, Path(name))
        if kind == "secret" and _NAME.fullmatch(name):
            return self._named(reference, name)
        raise SecretUnavailableError(
            f"The reference {_kind_only(reference)} is of no known kind.",
            "Write env:NAME, file:PATH or secret:NAME.",
        )

    def _named(self, reference: str, name: str) -> str:
        variable = "INTERLOCK_SECRET_" + name.upper().replace("-", "_").replace("/", "_")
        if variable in self._environment:
            return self._from_variable(reference, variable)
        path = self._folder / name
        if path.is_file():
            return self._from_file(reference, path)
        raise SecretUnavailableError(
            f"The secret {reference} is not there: {variable} is not set and {path} does not exist.",
            "Set the variable or write the file.",
        )

    def _from_variable(self, reference: str, variable: str) -> str:
        return _present(
            reference, self._environment.get(variable, ""), f"the variable {variable} is not set or empty"
        )

    def _from_file(self, reference: str, path: Path) -> str:
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(_LARGEST_BYTES)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
            raise SecretUnavailableError(
                f"The secret {reference} cannot be read: {reason}.",
                "Make the file readable for this process, or point the reference elsewhere.",
            ) from None
        return _present(reference, text, "the file is empty")


def _present(reference: str, text: str, otherwise: str) -> str:
    value = text.strip()
    if not value:
        raise SecretUnavailableError(
            f"The secret {reference} is not there: {otherwise}.", "Provide its value."
        )
    return value


def _kind_only(reference: str) -> str:
    """Enough to find the reference again: whoever writes a secret in its place must not read it in a log."""
    kind, colon, _ = reference.partition(":")
    return f"{kind}:..." if colon and len(kind) <= 10 else "without a kind"
