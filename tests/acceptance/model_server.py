"""A model's server on loopback that speaks the OpenAI chat API and answers each stage of ``issue-triage``."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {
    "needs_answer": {"label": "feature", "priority": "p2", "needs_answer": True, "why": "The model says so."},
    "comment": {"comment": "The model thanks you."},
    "step": {"step": "review", "why": "the model wants it seen."},
}
"""By a field of the stage's schema, which the system message holds: what the model says."""


class ModelServer(ThreadingHTTPServer):
    """Answers in JSON, unless ``broken`` says of a system message that its agent gets something else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.broken: Callable[[str], bool] = lambda _system: False
        self.asked = 0

    @property
    def url(self) -> str:
        """What a provider's ``base_url`` is."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, system: str) -> str:
        """The text for one question."""
        self.asked += 1
        if self.broken(system):
            return "I would rather not say."
        return json.dumps(next(answer for name, answer in ANSWERS.items() if f'"{name}"' in system))


class _Answering(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One chat completion."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = self.server.answer(asked["messages"][0]["content"])
        message = {"role": "assistant", "content": text}
        body = json.dumps({"model": "local-1", "choices": [{"index": 0, "message": message}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """The server, until the block ends."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
