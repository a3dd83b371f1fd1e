"""Posts events over HTTP as a real client does: each is sent again, unchanged, until the answer is a 2xx.

Every try is a line of the history: what the checker takes as accepted is what was answered with 2xx, and nothing else.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2

SOURCE = "urn:interlock:fault-harness"
WORKFLOW = "three-sinks"
GIVE_UP_SECONDS = 120.0
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event to be sent."""

    id: str
    tenant: str

    def envelope(self) -> dict[str, object]:
        """The CloudEvent, in structured mode."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": "dev.interlock.check",
            "tenantid": self.tenant,
            "datacontenttype": "application/json",
            "dataschema": "urn:interlock:schema:check:1",
            "data": {
                "kind": "check_run",
                "name": self.id,
                "status": "completed",
                "conclusion": "success",
                "head_sha": "0" * 40,
            },
        }


class Generator:
    """Sends events and remembers what was answered.

    Args:
        keys: the API keys, by tenant.
        duplicates: the share of events that are sent a second time after they were accepted.
    """

    def __init__(
        self, url: str, keys: Mapping[str, str], history: Path, *, seed: int = 0, duplicates: float = 0.1
    ) -> None:
        self._url = url
        self._keys = keys
        self.history = history
        self._random = random.Random(seed)
        self._duplicates = duplicates
        self._lock = threading.Lock()
        self._client = httpx2.Client(timeout=ANSWER_SECONDS, trust_env=False)
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="generator")
        self._stopped = threading.Event()

    def events(self, prefix: str, count: int) -> list[Event]:
        """That many new events of the tenants in turn."""
        tenants = sorted(self._keys)
        return [
            Event(f"{prefix}-{number}", tenants[self._random.randrange(len(tenants))])
            for number in range(count)
        ]

    def begin(self, events: Sequence[Event]) -> list[Future[bool]]:
        """Send them all at once; each future tells whether its event was accepted."""
        again = [self._random.random() < self._duplicates for _ in events]
        return [
            self._pool.submit(self._send, event, twice) for event, twice in zip(events, again, strict=True)
        ]

    def send(self, events: Sequence[Event]) -> None:
        """Send them all at once and wait for their answers. Raises AssertionError when one is not accepted."""
        for event, sent in zip(events, self.begin(events), strict=True):
            assert sent.result(), f"{event.id} was not accepted within {GIVE_UP_SECONDS:g} s"

    def begin_at_rate(self, events: Sequence[Event], per_second: float) -> Future[None]:
        """Send them one after the other at a rate; the future is done when each has its answer."""

        def send() -> None:
            began = time.monotonic()
            sending: list[Future[bool]] = []
            for number, event in enumerate(events):
                if self._stopped.wait(max(0.0, began + number / per_second - time.monotonic())):
                    return
                sending += self.begin([event])
            for sent in sending:
                sent.result()

        feeder = ThreadPoolExecutor(1, thread_name_prefix="feeder")
        fed = feeder.submit(send)
        feeder.shutdown(wait=False)
        return fed

    def close(self) -> None:
        """Stop sending."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def _send(self, event: Event, twice: bool) -> bool:
        accepted = self._until_accepted(event)
        return accepted and (not twice or self._until_accepted(event))

    def _until_accepted(self, event: Event) -> bool:
        body = json.dumps(event.envelope()).encode()
        deadline = time.monotonic() + GIVE_UP_SECONDS
        pause = 0.1
        while not self._stopped.is_set() and time.monotonic() < deadline:
            if 200 <= self._try(event, body) < 300:
                return True
            self._stopped.wait(pause)
            pause = min(pause * 1.5, 1.0)
        return False

    def _try(self, event: Event, body: bytes) -> int:
        headers = {
            "Authorization": f"Bearer {self._keys[event.tenant]}",
            "Content-Type": "application/cloudevents+json",
        }
        sent_at = time.time()
        status, orchestrations, error = 0, [], ""
        try:
            answer = self._client.post(f"{self._url}/v1/events", content=body, headers=headers)
            status = answer.status_code
            if answer.is_success:
                orchestrations = answer.json()["orchestrations"]
        except (httpx2.HTTPError, ValueError, KeyError) as failed:
            error = type(failed).__name__
        self._write(
            {
                "id": event.id,
                "tenant": event.tenant,
                "source": SOURCE,
                "sent_at": sent_at,
                "answered_at": time.time(),
                "status": status,
                "orchestrations": orchestrations,
                "error": error,
            }
        )
        return status

    def _write(self, line: Mapping[str, object]) -> None:
        with self._lock, self.history.open("a") as file:
            file.write(json.dumps(line) + "\n")
