"""A host application that enqueues over the broker, and again what the service has not confirmed, as an outbox does.

Over the broker nothing is accepted until it is recorded: a message may be lost with Redis or with a worker that dies.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence

from interlock.enqueue import Client
from interlock.envelope import Envelope
from tests.faults.generator import SOURCE, WORKFLOW, Event
from tests.faults.service import ServiceUnderTest

AGAIN_SECONDS = 2.0
GIVE_UP_SECONDS = 60.0


class Hosts:
    """One client for each tenant. Call ``close`` at the end."""

    def __init__(self, service: ServiceUnderTest) -> None:
        self._service = service
        self._clients = {
            tenant: Client(service.redis_url, tenant, key.encode())
            for tenant, key in service.signing_keys().items()
        }
        self._history = service.outside / "generator-hosts.jsonl"
        self._threads: list[threading.Thread] = []

    def begin(self, events: Sequence[Event]) -> None:
        """Enqueue them, and again until each is recorded; what was confirmed is a line of the history."""
        thread = threading.Thread(target=self._send, args=(list(events),), name="hosts", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Wait for what is still being sent."""
        for thread in self._threads:
            thread.join(GIVE_UP_SECONDS)
        for client in self._clients.values():
            client.close()

    def _send(self, events: list[Event]) -> None:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        promised: dict[str, str] = {}
        began = time.time()
        while events and time.monotonic() < deadline:
            for event in events:
                envelope = Envelope(**event.envelope())  # type: ignore[arg-type]
                promised[event.id] = self._clients[event.tenant].enqueue(envelope, workflow=WORKFLOW)
            again_at = time.monotonic() + AGAIN_SECONDS
            while events and time.monotonic() < again_at:
                recorded = self._recorded(events)
                self._confirm([event for event in events if event.id in recorded], promised, began)
                events = [event for event in events if event.id not in recorded]
                time.sleep(0.1)

    def _recorded(self, events: Sequence[Event]) -> set[str]:
        query = "SELECT event_id FROM events WHERE event_id = ANY(%(ids)s)"
        return {row[0] for row in self._service.rows(query, {"ids": [event.id for event in events]})}

    def _confirm(self, events: Sequence[Event], promised: dict[str, str], began: float) -> None:
        with self._history.open("a") as file:
            for event in events:
                line = {
                    "id": event.id,
                    "tenant": event.tenant,
                    "source": SOURCE,
                    "sent_at": began,
                    "answered_at": time.time(),
                    "status": 202,
                    "orchestrations": [promised[event.id]],
                    "error": "",
                }
                file.write(json.dumps(line) + "\n")
