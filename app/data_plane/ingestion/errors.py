"""Why an event is not accepted, each reason under a stable code."""

from __future__ import annotations

from app.kernel.errors import ConflictError, PermanentError
from interlock.errors import ClientError

_STATUS = {"too_large": 413, "unsupported_content_type": 415}


class InvalidEventError(PermanentError):
    """The event, or the text it came in, breaks a rule; ``code`` is the client's code for that rule."""

    http_status = 400

    def __init__(self, refusal: ClientError) -> None:
        super().__init__(refusal.what, refusal.remedy)
        self.code = refusal.code
        self.http_status = _STATUS.get(refusal.code, 400)


class UnknownTypeError(PermanentError):
    """No normaliser reads events of that type."""

    code = "unknown_type"


class UnknownSchemaVersionError(PermanentError):
    """The data's schema, or its version, is not one that the event's type has."""

    code = "unknown_schema_version"


class InvalidDataError(PermanentError):
    """The event's data does not fit the schema that it names."""

    code = "invalid_data"


class UnknownWorkflowError(PermanentError):
    """The event asks for a workflow that has no release."""

    code = "unknown_workflow"


class EventConflictError(ConflictError):
    """The same (tenant, source, id) was accepted before with another type or other data."""

    code = "event_conflict"


class RoutedElsewhereError(ConflictError):
    """The same event was accepted before, and not for the workflow that is asked for now."""

    code = "event_routed_elsewhere"


class WrongTenantError(PermanentError):
    """The event's tenant is not the one that the credential belongs to."""

    code = "wrong_tenant"
    http_status = 403


class BadSignatureError(PermanentError):
    """The signature is missing, or no key of the tenant made it. An unknown tenant looks the same."""

    code = "bad_signature"
    http_status = 401


class BadApiKeyError(PermanentError):
    """The API key is missing or nobody's."""

    code = "bad_api_key"
    http_status = 401
