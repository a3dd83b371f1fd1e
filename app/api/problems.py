"""Errors over HTTP: RFC 9457 problem details with a stable ``code``, what failed and why, and what to do."""

from __future__ import annotations

import math
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.data_plane.ingestion.errors import InvalidEventError
from app.kernel.errors import Fate, InterlockError, TransientError
from app.telemetry.logs import get_logger
from interlock.errors import InvalidInputError

_log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

_FRAMEWORK_CODES = {404: "not_found", 405: "method_not_allowed"}
_FRAMEWORK_REMEDIES = {404: "Look at /openapi.json for what there is.", 405: "Use a method that Allow names."}


class Problem(BaseModel):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str


def problem(error: InterlockError) -> Problem:
    """What a client is told of an error; of a defect, nothing that only its log should hold."""
    if error.fate is Fate.DEFECT:
        return _problem(error.http_status, error.code, "Interlock failed.", "Look at the service's log.")
    return _problem(error.http_status, error.code, error.what, error.remedy)


def install(application: FastAPI) -> None:
    """Make every error of ours and of the framework a problem."""
    application.add_exception_handler(InterlockError, _on_interlock_error)
    application.add_exception_handler(InvalidInputError, _on_invalid_input)
    application.add_exception_handler(HTTPException, _on_http_exception)
    application.add_exception_handler(RequestValidationError, _on_validation_error)
    application.add_exception_handler(Exception, _on_defect)


def _problem(status: int, code: str, detail: str, remedy: str) -> Problem:
    return Problem(
        type=f"urn:interlock:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        remedy=remedy,
    )


def _respond(body: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body.model_dump(), body.status, headers=headers, media_type=MEDIA_TYPE)


async def _on_interlock_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, InterlockError):
        raise error
    headers: dict[str, str] = {}
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # Otherwise the server reads the rest of the body, only to drop it.
        headers["Connection"] = "close"
    if isinstance(error, TransientError):
        headers["Retry-After"] = str(math.ceil(error.retry_after_seconds or 1))
    if error.fate is Fate.DEFECT:
        _log.error("a request met a defect", code=error.code, reason=str(error))
    return _respond(problem(error), headers)


async def _on_invalid_input(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, InvalidInputError):
        raise error
    return await _on_interlock_error(request, InvalidEventError(error))


async def _on_http_exception(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    code = _FRAMEWORK_CODES.get(status, f"http_{status}")
    body = _problem(status, code, f"{error.detail}.", _FRAMEWORK_REMEDIES.get(status, ""))
    return _respond(body, dict(error.headers or {}))


async def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    detail = f"The request's {where} does not fit: {str(first['msg']).lower()}."
    return _respond(_problem(422, "invalid_request", detail, "Correct it; /openapi.json says what fits."))


async def _on_defect(_: Request, error: Exception) -> JSONResponse:
    _log.error("a request met a defect", exc_info=error)
    return _respond(_problem(500, "defect", "Interlock failed.", "Look at the service's log."))
