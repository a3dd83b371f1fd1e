"""What is outside the system and repeats secrets: a model's server, and a target. Both on loopback, in this process.

The event's title, ``canary NUMBER WAY``, says what each of them does.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.canaries.markers import planted

WAYS = ("post", "ask", "read", "break", "nonsense", "refused", "down", "misused", "rejected", "flaky", "hang")
"""What happens to an event: who says what to whom, and who fails how."""

_TITLE = re.compile(r"canary (\d+) (\w+)")


class Outside(ThreadingHTTPServer):
    """One server of either kind."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.seen: Counter[str] = Counter()
        self.released = threading.Event()
        """Set when what hangs may answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: whoever asked was killed, which is what the scene is about."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Outside
    protocol_version = "HTTP/1.1"

    def body(self) -> str:
        return self.rfile.read(int(self.headers.get("content-length", "0"))).decode()

    def answer(self, status: int, body: object, **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is its own."""


class Model(_Handler):
    """Speaks the OpenAI chat API."""

    def do_POST(self) -> None:
        """One question."""
        asked = json.loads(self.body())
        match = _TITLE.search(json.dumps(asked["messages"]))
        number, way = (int(match[1]), match[2]) if match else (0, "read")
        called = any(message["role"] == "tool" for message in asked["messages"])
        self.server.seen[way] += 1
        if way == "refused":
            said = f"Incorrect API key provided: {planted('provider error', number, content=False).text}."
            self.answer(401, {"error": {"message": said, "type": "invalid_request_error"}})
        elif way == "down":
            said = planted("provider outage", number, content=False).text
            self.answer(500, {"error": {"message": said}}, x_debug=said.replace("\n", " "))
        elif way in {"read", "break", "misused"} and not called:
            self.say(
                number, calls=[(f"notes.{'break' if way == 'break' else 'read'}", _arguments(way, number))]
            )
        elif way == "nonsense":
            self.say(
                number, text=f"I would rather say {planted('rejected answer', number, content=True).text}"
            )
        else:
            level = "ask" if way == "ask" else "none" if way == "hang" else "post"
            why = planted("model output", number, content=True).text
            self.say(number, text=json.dumps({"level": level, "why": f"because {why}"}))
        if way == "hang":
            self.server.released.wait(30)

    def say(self, number: int, text: str = "", calls: list[tuple[str, object]] | None = None) -> None:
        message: dict[str, object] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{number}_{place}",
                    "type": "function",
                    "function": {"name": name.replace(".", "__"), "arguments": json.dumps(arguments)},
                }
                for place, (name, arguments) in enumerate(calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        self.answer(
            200,
            {
                "id": "chat",
                "object": "chat.completion",
                "model": "canary-1",
                "choices": [choice],
                "usage": usage,
            },
        )


def _arguments(way: str, number: int) -> dict[str, object]:
    given: dict[str, object] = {"key": planted("tool argument", number, content=True).text, "number": number}
    if way == "misused":
        given |= {planted("name of an argument", number, content=False).text: 1, "number": "many"}
    return given


class Target(_Handler):
    """Takes what is posted, or fails as the event's title says."""

    def do_POST(self) -> None:
        """One delivery."""
        body = self.body()
        match = _TITLE.search(body)
        number, way = (int(match[1]), match[2]) if match else (0, "")
        key = self.headers.get("idempotency-key", body)
        self.server.seen[key] += 1
        said = planted("target's answer", number, content=False).text
        told = said.replace("\n", " ")
        if way == "rejected":
            self.answer(400, {"error": said}, x_error=told)
        elif way == "flaky" and self.server.seen[key] < 3:
            self.answer(503, {"error": said}, retry_after="0", x_error=told)
        else:
            self.answer(201, {"applied": True, "note": said}, location=f"/notes/{number}?token={number}")


@contextmanager
def outside(handler: type[BaseHTTPRequestHandler]) -> Iterator[Outside]:
    """A server of this kind, until the block ends."""
    server = Outside(handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
