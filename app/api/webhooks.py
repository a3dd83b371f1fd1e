"""``POST /v1/webhooks/{tenant}/github``: GitHub's webhooks, authenticated by their signature.

Source: docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers

from app.api.answers import EventAnswer, answer
from app.api.problems import Problem
from app.api.request_body import read_body
from app.api.services import ApiServices
from app.data_plane.ingestion.accept import Submission
from app.data_plane.ingestion.errors import BadSignatureError
from app.data_plane.ingestion.github_event import to_envelope
from interlock import strict_json
from interlock.attributes import is_json_media_type, is_traceparent
from interlock.errors import InvalidInputError


def webhooks_router(services: ApiServices) -> APIRouter:
    """The route, wired to its services."""
    router = APIRouter(tags=["webhooks"])

    @router.post(
        "/v1/webhooks/{tenant}/github",
        status_code=202,
        response_model=EventAnswer,
        responses={"4XX": {"model": Problem}, 503: {"model": Problem}},
        summary="Accept a GitHub webhook",
    )
    async def post_github_webhook(tenant: str, request: Request) -> JSONResponse:
        """Answers after the commit; a redelivery is answered as a duplicate."""
        body = await read_body(request, services.max_body_bytes)
        return await to_thread.run_sync(_accept, services, tenant, request.headers, body)

    return router


def _accept(services: ApiServices, tenant: str, headers: Headers, body: bytes) -> JSONResponse:
    # Before the signature is known to be right, nothing else is looked at.
    secrets = services.tenants.webhook_secrets(tenant, "github")
    if not _is_signed(body, headers.get("x-hub-signature-256", ""), secrets):
        raise BadSignatureError(
            "The webhook's X-Hub-Signature-256 is missing or not made with a secret of this tenant.",
            "Give the webhook at GitHub the secret that the tenant's document refers to.",
        )
    if not is_json_media_type(headers.get("content-type", "")):
        raise InvalidInputError(
            "unsupported_content_type",
            "The webhook did not come as JSON.",
            "Choose the content type application/json in the webhook's settings at GitHub.",
        )
    traceparent = headers.get("traceparent", "")
    envelope = to_envelope(
        tenant,
        headers.get("x-github-event", ""),
        headers.get("x-github-delivery", ""),
        strict_json.read(body, max_bytes=services.max_body_bytes),
        traceparent=traceparent if is_traceparent(traceparent) else None,
    )
    accepted = services.ingestion.accept_one(Submission(envelope))
    return JSONResponse(answer(accepted).model_dump(), 202)


def _is_signed(body: bytes, signature: str, secrets: Sequence[bytes]) -> bool:
    given = signature.encode("utf-8", "surrogatepass")
    matches = [
        hmac.compare_digest(given, f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}".encode())
        for secret in secrets
    ]
    return any(matches)
