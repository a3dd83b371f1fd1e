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
    with _tracer.start_as_current_span(CLIENT_SPAN, kind=SpanKind.CLIENT):
        headers: dict[str, str] = {}
        propagate.inject(headers)
        async with httpx2.AsyncClient(trust_env=False) as client:
            url = f"{os.environ['TESTS_PAGES_URL']}/{arguments.name}"
            answer = await client.get(url, headers=headers)
    return Found(status=answer.status_code)
