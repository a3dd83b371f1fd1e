"""The API served by uvicorn on a free loopback port, over the real ingestion service and fakes behind it."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn

from app.api.application import create_application
from app.data_plane.ingestion.accept import IngestionService
from app.data_plane.ingestion.tenants import Credentials, KnownTenants, Tenants
from app.kernel.errors import TransientError
from tests.unit.ingestion.fakes import Ingestion

MAX_BODY = 100_000
KEY = "key-of-demo"
SECRET = b"webhook-secret"
OLD_SECRET = b"webhook-secret-before"


@dataclass
class Services:
    """What the API is wired to in these tests."""

    behind: Ingestion = field(default_factory=Ingestion)
    max_body_bytes: int = MAX_BODY
    closed: bool = False
    tenants: Tenants = field(
        default_factory=lambda: KnownTenants(
            {
                "demo": Credentials((KEY,), {"github": (SECRET, OLD_SECRET)}),
                "other": Credentials(("key-of-other",)),
            }
        )
    )

    @property
    def ingestion(self) -> IngestionService:
        """The real service."""
        return self.behind.service

    def check_ready(self) -> None:
        """Ready while the store is."""
        if self.behind.store.down:
            raise TransientError("The database does not answer.", "Start it.", retry_after_seconds=2.5)

    def close(self) -> None:
        """Remembers that it was called."""
        self.closed = True


@dataclass
class Served:
    """A running API and a client of it."""

    services: Services
    client: httpx2.Client
    port: int

    def post_event(self, body: bytes | str, **headers: str) -> httpx2.Response:
        """Send a structured event with the tenant's key; ``_`` in a header's name stands for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        defaults = {"authorization": f"Bearer {KEY}", "content-type": "application/cloudevents+json"}
        content = body.encode() if isinstance(body, str) else body
        return self.client.post("/v1/events", content=content, headers={**defaults, **named})

    def post_webhook(self, body: bytes, secret: bytes = SECRET, **headers: str) -> httpx2.Response:
        """Send a signed GitHub webhook."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        defaults = {
            "content-type": "application/json",
            "x-github-event": "issues",
            "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "x-hub-signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
        }
        return self.client.post("/v1/webhooks/demo/github", content=body, headers={**defaults, **named})


@contextmanager
def serve(services: Services) -> Iterator[Served]:
    """The API over ``services``, until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_application(services), log_config=None))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.01)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Served(services, client, port)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


def structured(**changes: Any) -> dict[str, Any]:
    """A good event of our own type, with changes; an attribute set to None is left out."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/host",
        "type": "dev.interlock.issue",
        "tenantid": "demo",
        "dataschema": "urn:interlock:schema:issue:2",
        "data": {"title": "It broke"},
        **changes,
    }
    return {name: value for name, value in event.items() if value is not None}


def as_json(value: Any) -> str:
    """The value as JSON."""
    return json.dumps(value)
