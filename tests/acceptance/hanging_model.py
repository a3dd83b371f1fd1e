"""A model's server that does not come to an end, and knows when it was asked and when its caller hung up.

It speaks the OpenAI chat API over real connections. What the user's message holds decides: ``answers``, ``silent``
(the request is read and nothing is said), or ``drips`` (an answer begins, and a byte follows now and then, so that no
limit on silence ends it).
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DRIP_SECONDS = 0.05
ANSWER = {"level": "high"}


@dataclass
class Call:
    """One question, on the server's clock in seconds."""

    how: str
    asked_at: float
    closed_at: float | None = None
    """When the caller's end of the connection was seen closed."""


class HangingModel(ThreadingHTTPServer):
    """The server, and what it saw."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hanging)
        self.calls: list[Call] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """What a provider's ``base_url`` is."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Hanging(BaseHTTPRequestHandler):
    server: HangingModel
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One chat completion, or none."""
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        how = next(word for word in ("answers", "silent", "drips") if word in asked)
        call = Call(how, time.monotonic())
        self.server.calls.append(call)
        if how == "answers":
            self._begin()
            return
        if how == "drips":
            self._begin(more=1_000_000)
        self._wait_until_the_caller_hangs_up(call)
        self.close_connection = True

    def _begin(self, more: int = 0) -> None:
        message = {"role": "assistant", "content": json.dumps(ANSWER)}
        body = json.dumps({"model": "local-1", "choices": [{"index": 0, "message": message}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body) + more))
        self.end_headers()
        self.wfile.write(body)

    def _wait_until_the_caller_hangs_up(self, call: Call) -> None:
        while not self.server.ended.is_set():
            readable, _, _ = select.select([self.connection], [], [], DRIP_SECONDS)
            try:
                if readable and not self.connection.recv(1024):
                    break
                if call.how == "drips":
                    self.wfile.write(b" ")
            except ConnectionError:
                break
        call.closed_at = time.monotonic()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def hanging_model() -> Iterator[HangingModel]:
    """The server, until the block ends."""
    server = HangingModel()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
