"""Models on loopback that fail as told: one real HTTP server for OpenAI's and Anthropic's protocols.

What becomes of each request is chosen by name, by whoever starts it: ``with faulty_models(choose) as models``.
It runs in a thread of its own, so that tests of whole workflows can use it, and keeps its own history.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

Behaviour = Literal[
    "answers",
    "uncounted",  # answers, and does not say what it counted
    "busy",  # 429, and not for how long
    "busy_for_30_s",  # 429 with Retry-After
    "busy_for_1_s",
    "fails",  # 500
    "down",  # 503
    "overloaded",  # 529, as Anthropic says it
    "hangs",  # takes the question and says nothing
    "drips",  # begins an answer and goes on byte by byte
    "cuts",  # closes in the middle of its answer
    "closes",  # closes before its answer
    "empty_body",
    "empty_text",
    "not_json",  # a page of HTML, with 200
    "other_protocol",  # JSON, but no answer of a model
    "wrong_schema",  # JSON that no proposal fits
    "five_megabytes",
    "endless",
    "endless_error",  # a 500 whose body has no end
    "compressed",  # a body in gzip, which nobody asked for
    "in_parts",  # answers in several blocks of text, where the protocol has them
    "other_model",  # answers, as another model than the one that was asked
    "refusal_text",  # declines in prose
    "declines",  # declines as the protocol has it, without text
    "stopped",  # answers, and says that a filter cut it off
    "truncated",  # the text's first half, for its limit of tokens
]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)

Protocol = Literal["openai", "anthropic"]
Ending = Literal["open", "answered", "closed_by_us", "closed_by_client"]

OTHER_MODEL = "some-other-model-3"
REFUSAL = "I'm sorry, but I can't help with that."
RETRY_AFTER_SECONDS = 30
_WAITS = {"busy_for_30_s": RETRY_AFTER_SECONDS, "busy_for_1_s": 1}
DRIP_SECONDS = 0.02
_LARGE = 5 * 1024 * 1024
_STATUSES: dict[str, int] = {
    "busy": 429,
    "busy_for_30_s": 429,
    "busy_for_1_s": 429,
    "fails": 500,
    "down": 503,
    "overloaded": 529,
}


@dataclass
class Asked:
    """One request in the server's own history."""

    number: int
    """From 1 on, in the order of arrival."""
    connection: int
    protocol: Protocol
    head: str
    body: dict[str, object]
    behaviour: Behaviour
    began: float
    """``time.monotonic`` when the whole request was there."""
    ended: float | None = None
    ending: Ending = "open"
    status: int = 0
    input_tokens: int = 0
    """What the server counts as billed: for everything but an error's status."""
    output_tokens: int = 0
    sent: int = 0
    """Bytes of its answer."""

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.body["model"])

    @property
    def system(self) -> str:
        """What the model is told: instructions, rules and schema."""
        return str(self.body["system"]) if self.protocol == "anthropic" else self._message(0)

    @property
    def user(self) -> str:
        """The data."""
        return self._message(-1)

    def _message(self, position: int) -> str:
        messages = self.body["messages"]
        assert isinstance(messages, list)
        return str(messages[position]["content"])


@dataclass
class FaultyModels:
    """The server as a test sees it."""

    choose: Callable[[Asked], Behaviour]
    say: Callable[[Asked], str]
    pause_seconds: float = 0.0
    host: str = ""
    history: list[Asked] = field(default_factory=list)
    connections: int = 0

    def url(self, protocol: Protocol) -> str:
        """What a provider's ``base_url`` is."""
        return f"{self.host}/v1" if protocol == "openai" else self.host

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        self.connections += 1
        connection = self.connections
        try:
            while True:
                asked = await self._read(reader, connection)
                await _Answering(self, asked, reader, writer).answer()
                asked.ended = time.monotonic()
                if asked.ending != "answered":
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # The client went, or the server stops.
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        path = head.split(" ", 2)[1]
        asked = Asked(
            number=len(self.history) + 1,
            connection=connection,
            protocol="anthropic" if path.endswith("/messages") else "openai",
            head=head,
            body=json.loads(body),
            behaviour="answers",
            began=time.monotonic(),
        )
        self.history.append(asked)
        asked.behaviour = self.choose(asked)
        if asked.behaviour not in _STATUSES and asked.behaviour != "endless_error":
            asked.input_tokens = len(body) // 4 + 1
        return asked


@dataclass
class _Answering:
    """One request's answer, or what there is in its place."""

    models: FaultyModels
    asked: Asked
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> None:
        await asyncio.sleep(self.models.pause_seconds)
        match self.asked.behaviour:
            case "hangs":
                await self._hangs()
            case "drips":
                await self._without_end(200, b" ", DRIP_SECONDS)
            case "endless":
                await self._without_end(200, b" " * 65_536, 0)
            case "endless_error":
                await self._without_end(500, b" " * 65_536, 0)
            case "cuts":
                await self._cuts()
            case "closes":
                self.asked.ending = "closed_by_us"
            case "compressed":
                await self._whole(200, gzip.compress(self._body()), "Content-Encoding: gzip\r\n")
            case behaviour if behaviour in _STATUSES:
                await self._status(_STATUSES[behaviour])
            case _:
                await self._whole(200, self._body())

    async def _status(self, status: int) -> None:
        seconds = _WAITS.get(self.asked.behaviour)
        wait = f"Retry-After: {seconds}\r\n" if seconds is not None else ""
        error = {"type": "error", "error": {"type": "an_error", "message": f"status {status}"}}
        await self._whole(status, json.dumps(error).encode(), wait)

    async def _hangs(self) -> None:
        await self.reader.read()
        self.asked.ending = "closed_by_client"

    async def _cuts(self) -> None:
        body = self._body()
        await self._head(200, f"Content-Length: {len(body)}\r\n")
        await self._write(body[: len(body) // 2])
        self.asked.ending = "closed_by_us"

    async def _without_end(self, status: int, part: bytes, pause: float) -> None:
        await self._head(status, f"Content-Length: {10**12}\r\n")
        closed = asyncio.create_task(self.reader.read())
        try:
            while not closed.done():
                await self._write(part)
                await asyncio.sleep(pause)
        except ConnectionError:
            pass
        finally:
            closed.cancel()
        self.asked.ending = "closed_by_client"

    async def _whole(self, status: int, body: bytes, headers: str = "") -> None:
        await self._head(status, f"Content-Length: {len(body)}\r\n{headers}")
        await self._write(body)
        self.asked.ending = "answered"

    async def _head(self, status: int, headers: str) -> None:
        self.asked.status = status
        await self._write(
            f"HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\n{headers}\r\n".encode(),
            counted=False,
        )

    async def _write(self, part: bytes, *, counted: bool = True) -> None:
        self.asked.sent += len(part) if counted else 0
        self.writer.write(part)
        await self.writer.drain()

    def _body(self) -> bytes:
        match self.asked.behaviour:
            case "empty_body":
                return b""
            case "not_json":
                return b"<html><body>It works!</body></html>"
            case "other_protocol":
                return b'{"status": "ok"}'
        text = self._text()
        self.asked.output_tokens = len(text or "") // 4 + 1
        shaped = self._anthropic(text) if self.asked.protocol == "anthropic" else self._openai(text)
        return json.dumps(shaped).encode()

    def _text(self) -> str | None:
        match self.asked.behaviour:
            case "empty_text":
                return ""
            case "declines":
                return None
            case "refusal_text":
                return REFUSAL
            case "wrong_schema":
                return '{"no_such_field": [1, 2, 3]}'
            case "five_megabytes":
                return '{"why": "' + "x" * _LARGE + '"}'
            case "truncated":
                text = self.models.say(self.asked)
                return text[: len(text) // 2]
        return self.models.say(self.asked)

    @property
    def _model(self) -> str:
        return OTHER_MODEL if self.asked.behaviour == "other_model" else self.asked.model

    def _openai(self, text: str | None) -> dict[str, object]:
        stopped = {"stopped": "content_filter", "truncated": "length"}
        return {
            "id": f"c{self.asked.number}",
            "object": "chat.completion",
            "model": self._model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": stopped.get(self.asked.behaviour, "stop"),
                }
            ],
            "usage": None
            if self.asked.behaviour == "uncounted"
            else {
                "prompt_tokens": self.asked.input_tokens,
                "completion_tokens": self.asked.output_tokens,
                "total_tokens": self.asked.input_tokens + self.asked.output_tokens,
            },
        }

    def _blocks(self, text: str | None) -> list[dict[str, str]]:
        if text is None:
            return []
        if self.asked.behaviour != "in_parts":
            return [{"type": "text", "text": text}]
        middle = len(text) // 2
        return [
            {"type": "thinking", "thinking": "{...", "signature": "s"},
            {"type": "text", "text": text[:middle]},
            {"type": "text", "text": text[middle:]},
        ]

    def _anthropic(self, text: str | None) -> dict[str, object]:
        stopped = {"stopped": "refusal", "declines": "refusal", "truncated": "max_tokens"}
        return {
            "id": f"m{self.asked.number}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": self._blocks(text),
            "stop_reason": stopped.get(self.asked.behaviour, "end_turn"),
            "stop_sequence": None,
            "usage": None
            if self.asked.behaviour == "uncounted"
            else {"input_tokens": self.asked.input_tokens, "output_tokens": self.asked.output_tokens},
        }


@contextmanager
def faulty_models(
    choose: Callable[[Asked], Behaviour] | Behaviour = "answers",
    say: Callable[[Asked], str] | str = '{"answer": 42}',
    pause_seconds: float = 0.0,
) -> Iterator[FaultyModels]:
    """Serve until the block ends.

    Args:
        choose: what becomes of each request.
        say: the model's text, where it answers with one.
        pause_seconds: how long it takes before anything comes of a request.
    """
    models = FaultyModels(
        choose if callable(choose) else lambda _: choose,
        say if callable(say) else lambda _: say,
        pause_seconds,
    )
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(models.serve, "127.0.0.1", 0))
    models.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, name="faulty models")
    thread.start()
    try:
        yield models
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def nobody_listening() -> Iterator[str]:
    """An address that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
