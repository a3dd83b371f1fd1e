"""A team's tool whose HTTP client is instrumented as OpenTelemetry's instrumentations do it: a span, and headers.

``TESTS_PAGES_URL`` is asked, which the tests serve.
"""

from __future__ import annotations

import os

import httpx2
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from app.data_plane.tools import Arguments, Reading, Result, tool

MODULE = __name__
CLIENT_SPAN = "GET page"
SLOW = "/slow"

_tracer = trace.get_tracer("an.http.client")


class Page(Arguments):
    """Which page."""

    name: str


class Found(Result):
    """What it said."""

    status: int


@tool("pages.fetch", version=1, effect="read", trusted=True)
async def fetch(arguments: Page, reading: Reading) -> Found:
    """Reads a page."""
    url = os.environ["TESTS_PAGES_URL"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        with _tracer.start_as_current_span(CLIENT_SPAN, kind=SpanKind.CLIENT):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            answer = await client.get(f"{url}/{arguments.name}", headers=headers)
        # The span is over for longer than spans wait to be written; the call is not.
        await client.get(f"{url}{SLOW}")
    return Found(status=answer.status_code)
