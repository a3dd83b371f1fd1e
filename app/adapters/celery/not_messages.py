"""What is in a queue's list and is no message of Celery's: found before kombu reads it.

kombu takes an entry off the list and parses it in one go, before any consumer sees it. What it cannot parse raises into
the worker's event loop and ends the worker, and is gone (the same happens on other transports: celery/kombu#2421). Here
such an entry becomes a well-formed stand-in that goes the way of every message that cannot be decoded.
"""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from typing import Annotated

import redis
from kombu.message import Message
from kombu.transport.redis import Channel, Transport
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.data_plane.dead_letters.reports import Digest, digest_of

_log = logging.getLogger(__name__)

NOT_A_MESSAGE = "application/x-interlock-not-a-message"
"""The stand-in's content type, which no worker accepts."""

_SEPARATOR = "\x06\x16"
"""What kombu puts between a queue's name and a priority, in the name of a list."""


class Stub(BaseModel):
    """What is kept of an entry that is no message."""

    model_config = ConfigDict(frozen=True)
    digest: Digest
    size: Annotated[int, Field(ge=0)]


def read_stub(message: Message) -> Stub | None:
    """What a stand-in stands for; None when it is no stand-in of ours."""
    try:
        return Stub.model_validate_json(message.body or "")
    except ValidationError:
        return None


def readable(entry: bytes, queue: str) -> bytes:
    """The entry itself when kombu can read it and put it back, else its stand-in."""
    if is_message(entry):
        return entry
    stub = Stub(digest=digest_of(entry), size=len(entry))
    return str(dumps(_stand_in(stub, queue.partition(_SEPARATOR)[0]))).encode()


def is_message(entry: bytes) -> bool:
    """Whether kombu's virtual transport finds everything in it that it takes for granted."""
    try:
        payload = loads(bytes_to_str(entry))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return False
    return _is_shaped(payload)


def _is_shaped(payload: object) -> bool:
    if not isinstance(payload, dict) or not isinstance(payload.get("headers", {}), dict):
        return False
    properties = payload.get("properties")
    if not isinstance(properties, dict) or not isinstance(properties.get("delivery_tag"), str):
        return False
    return _has_route(properties.get("delivery_info")) and _has_body(
        payload.get("body"), properties.get("body_encoding")
    )


def _has_route(route: object) -> bool:
    if not isinstance(route, dict):
        return False
    return isinstance(route.get("exchange"), str) and isinstance(route.get("routing_key"), str)


def _has_body(body: object, encoding: object) -> bool:
    if body is not None and not isinstance(body, str):
        return False
    if encoding is None or encoding == "utf-8":
        return True
    if encoding != "base64":
        return False
    try:
        base64.b64decode(body or "")
    except (binascii.Error, ValueError):
        return False
    return True


def _stand_in(stub: Stub, queue: str) -> dict[str, object]:
    return {
        "body": stub.model_dump_json(),
        "content-type": NOT_A_MESSAGE,
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_mode": 2,
            "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": queue},
        },
    }


class _Client(redis.Redis):
    """Reads the entries of queues for kombu."""

    def parse_response(self, connection: object, command_name: str | bytes, **options: object) -> object:
        """The server's answer; an entry that is no message is replaced by its stand-in."""
        answer: object = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name == "BRPOP" and isinstance(answer, (list, tuple)) and len(answer) == 2:
            queue, entry = answer
            return queue, readable(entry, bytes_to_str(queue))
        return answer


class CarefulChannel(Channel):
    """kombu's channel over Redis, with that client."""

    def _get_client(self) -> type[redis.Redis]:
        return _Client

    def _handle_message(self, client: object, answer: object) -> dict[str, object]:
        """What was broadcast; it carries no work, so that what is no message is passed over."""
        received: dict[str, object] = super()._handle_message(client, answer)  # type: ignore[misc]  # not in its stubs
        data = received["data"]
        if isinstance(data, bytes) and data and not is_message(data):
            _log.warning("a broadcast was no message (%d bytes), and was passed over", len(data))
            received["data"] = b""
        return received


class CarefulTransport(Transport):
    """kombu's transport over Redis, for consumers."""

    Channel = CarefulChannel


CAREFUL_TRANSPORT = f"{CarefulTransport.__module__}:{CarefulTransport.__qualname__}"
