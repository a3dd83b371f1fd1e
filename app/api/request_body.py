"""Reading a request's body within the limit: what is longer is refused while it comes in."""

from __future__ import annotations

from fastapi import Request
from starlette.requests import ClientDisconnect

from interlock.errors import InvalidInputError
from interlock.strict_json import too_large


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body.

    Raises:
        InvalidInputError: ``too_large``, ``unsupported_content_type`` for a compressed one,
            ``incomplete_body`` when the client went away.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise InvalidInputError(
            "unsupported_content_type", "The body is compressed.", "Send it without Content-Encoding."
        )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > max_bytes):
        raise too_large(max_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large(max_bytes)
    except ClientDisconnect:
        raise InvalidInputError(
            "incomplete_body", "The client went away before the end of the body.", "Send it again."
        ) from None
    return bytes(body)
