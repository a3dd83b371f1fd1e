"""What can stand in the way of starting Interlock on a machine."""

from __future__ import annotations

from app.kernel.errors import ConflictError, PermanentError, TransientError


class MissingBinaryError(PermanentError):
    """A program that is needed is not on this machine."""

    code = "missing_binary"


class AlreadyRunningError(ConflictError):
    """Another live process owns the run folder."""

    code = "already_running"


class PortInUseError(ConflictError):
    """Something else listens where a part of Interlock should."""

    code = "port_in_use"


class ServerStartError(TransientError):
    """A server was started and did not become ready."""

    code = "server_not_started"


class ProgramFailedError(TransientError):
    """A program that the service cannot do without ended with an error."""

    code = "program_failed"
