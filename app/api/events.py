"""``POST /v1/events``: CloudEvents from whoever holds an API key, in structured, binary or batch mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.api.answers import BatchAnswer, EventAnswer, RefusedEvent, answer
from app.api.problems import Problem, problem
from app.api.request_body import read_body
from app.api.services import ApiServices
from app.data_plane.ingestion.accept import Submission
from app.data_plane.ingestion.errors import BadApiKeyError, WrongTenantError
from app.kernel.errors import PermanentError
from interlock.attributes import is_traceparent
from interlock.envelope import Envelope
from interlock.http_binding import receive


def events_router(services: ApiServices) -> APIRouter:
    """The route, wired to its services."""
    router = APIRouter(tags=["events"])

    @router.post(
        "/v1/events",
        status_code=202,
        response_model=EventAnswer | BatchAnswer,
        responses={207: {"model": BatchAnswer}, "4XX": {"model": Problem}, 503: {"model": Problem}},
        summary="Accept one event, or a batch",
    )
    async def post_event(request: Request) -> JSONResponse:
        """Answers after the commit; a batch of which some were refused is answered with 207."""
        # Off the loop: it may read the tenants, and a database that is down must not stop every other request.
        tenant = await to_thread.run_sync(_authenticated, request, services)
        body = await read_body(request, services.max_body_bytes)
        headers = request.headers.items()
        return await to_thread.run_sync(_accept, services, tenant, headers, body)

    return router


def _authenticated(request: Request, services: ApiServices) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    key = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    tenant = services.tenants.api_key_tenant(key) if key else None
    if tenant is None:
        raise BadApiKeyError(
            "The request has no API key that is known here.",
            "Send a tenant's key as Authorization: Bearer KEY or X-API-Key: KEY.",
        )
    return tenant


def _accept(
    services: ApiServices, tenant: str, headers: Sequence[tuple[str, str]], body: bytes
) -> JSONResponse:
    received = receive(headers, body, max_bytes=services.max_body_bytes)
    traceparent = next((value for name, value in headers if name == "traceparent"), "")
    envelopes = [_traced(envelope, traceparent) for envelope in received.envelopes]
    if any(envelope.tenantid != tenant for envelope in envelopes):
        raise WrongTenantError(
            "The event's tenantid is not the tenant of the API key.", "Send it with that tenant's key."
        )
    results = services.ingestion.accept([Submission(envelope) for envelope in envelopes])
    if not received.batch:
        return _single(results[0] if isinstance(results[0], PermanentError) else answer(results[0]))
    events: list[EventAnswer | RefusedEvent] = [
        RefusedEvent(event_id=envelope.id, problem=problem(result))
        if isinstance(result, PermanentError)
        else answer(result)
        for envelope, result in zip(envelopes, results, strict=True)
    ]
    refused = any(isinstance(event, RefusedEvent) for event in events)
    return JSONResponse(BatchAnswer(events=events).model_dump(), 207 if refused else 202)


def _single(result: EventAnswer | PermanentError) -> JSONResponse:
    if isinstance(result, PermanentError):
        raise result
    return JSONResponse(result.model_dump(), 202)


def _traced(envelope: Envelope, traceparent: str) -> Envelope:
    if envelope.traceparent is None and is_traceparent(traceparent):
        return replace(envelope, traceparent=traceparent)
    return envelope
