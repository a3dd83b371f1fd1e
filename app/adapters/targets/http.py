"""HTTP targets: the writing side, and the only way to an effect.

A target takes ``POST <address>/v1/effects/<tool>`` with the arguments' canonical JSON. What it answers
becomes a ``Receipt``, which tells apart what was certainly not taken (``retry``) and what nobody can know
(``unknown``; its ``http_status`` is 0 when no answer came at all). One that declares a ``probe_path`` is asked
with ``GET <address><probe_path>`` what became of a key.
Connections are pooled for each event loop, so the loop should live as long as its process.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote
from weakref import WeakKeyDictionary

from app.adapters.retry_after import retry_after_seconds
from app.adapters.targets.connection import (
    Answer,
    Connection,
    NoAnswerError,
    NotSentError,
    Origin,
    RefusedError,
    connect,
)
from app.control_plane.target_urls import InvalidTargetUrlError, read_target_url
from app.data_plane.ports import Delivery, Probe, ProbeAnswer, Receipt
from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import Fate, InterlockError
from app.telemetry import metrics

_log = logging.getLogger(__name__)

LONGEST_IDLE_SECONDS = 4.0
"""Below the five seconds after which many servers close: a request must not meet a closing connection."""

_VISIBLE = re.compile(r"[\x20-\x7e]*")
_PATH = re.compile(r"/[!-~]*")
_CERTAINLY_NOT_TAKEN = frozenset({408, 425, 429})
_IN_CONFLICT = 409
_SEND_IT_ELSEWHERE = frozenset({307, 308})


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """Where a tenant's target is, what it wants to see, and where its name may lead.

    Args:
        url: its address, without the path of the effects.
        authorization: the ``Authorization`` header's value, if it wants one.
        networks: where else than to public addresses the name may lead, as ``127.0.0.0/8``.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)
    networks: frozenset[str] = frozenset()


class TargetDirectory(Protocol):
    """Knows tenants' targets by their logical names."""

    def find(self, tenant_id: str, target: str) -> TargetAddress:
        """The address. Raises InterlockError (unknown target, unavailable secret)."""
        ...


class _Route(NamedTuple):
    """What a kept connection may be used for again: an address that one tenant may reach is not another's."""

    origin: Origin
    networks: frozenset[str]


@dataclass(slots=True)
class _LoopState:
    """What belongs to one event loop."""

    permits: asyncio.Semaphore
    idle: dict[_Route, list[Connection]] = field(default_factory=dict)


class HttpTargets:
    """Delivers to HTTP targets: concurrently, without redirects, within limits of size and time.

    Args:
        directory: where the targets are.
        concurrency: deliveries in flight at once, for each event loop.
        tls: how certificates are verified; by default against the system's authorities.
    """

    def __init__(
        self,
        directory: TargetDirectory,
        *,
        concurrency: int = 128,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._directory = directory
        self._concurrency = concurrency
        self._tls = tls
        self._clock = clock or SystemClock()
        self._states: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState] = WeakKeyDictionary()
        self._lock = threading.Lock()

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """One receipt for each delivery, in order; never raises for what a target did."""
        called_at = asyncio.get_running_loop().time()
        found = await self._find({(one.tenant_id, one.target) for one in deliveries})
        answers = await asyncio.gather(
            *(self._measured(one, found[one.tenant_id, one.target], called_at) for one in deliveries),
            return_exceptions=True,
        )
        return [_receipt_of(answer) for answer in answers]

    async def probe(self, probes: Sequence[Probe]) -> list[ProbeAnswer]:
        """One answer for each question, in order; asking changes nothing, and never raises for what a target did."""
        called_at = asyncio.get_running_loop().time()
        found = await self._find({(one.tenant_id, one.target) for one in probes})
        answers = await asyncio.gather(
            *(self._probe(one, found[one.tenant_id, one.target], called_at) for one in probes),
            return_exceptions=True,
        )
        return [_answer_of(answer) for answer in answers]

    async def close(self) -> None:
        """Close the running event loop's idle connections."""
        with self._lock:
            state = self._states.pop(asyncio.get_running_loop(), None)
        for connections in (state.idle if state else {}).values():
            for connection in connections:
                connection.abort()

    async def _find(
        self, wanted: set[tuple[str, str]]
    ) -> dict[tuple[str, str], TargetAddress | InterlockError]:
        # Off the loop: a directory may read a database, and every call in flight would wait with it.
        return await asyncio.to_thread(self._look_up, wanted)

    def _look_up(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], TargetAddress | InterlockError]:
        found: dict[tuple[str, str], TargetAddress | InterlockError] = {}
        for tenant_id, target in wanted:
            try:
                found[tenant_id, target] = self._directory.find(tenant_id, target)
            except InterlockError as error:
                found[tenant_id, target] = error
        return found

    async def _measured(
        self, delivery: Delivery, address: TargetAddress | InterlockError, called_at: float
    ) -> Receipt:
        since = metrics.now()
        receipt = await self._deliver(delivery, address, called_at)
        metrics.delivered(delivery.target, receipt.outcome, metrics.now() - since)
        return receipt

    async def _deliver(
        self, delivery: Delivery, address: TargetAddress | InterlockError, called_at: float
    ) -> Receipt:
        if isinstance(address, InterlockError):
            return Receipt("retry" if address.fate is Fate.TRANSIENT else "refused", reason=address.code)
        parsed = _parse(address.url)
        if parsed is None:
            return Receipt("refused", reason="invalid_address")
        origin, path = parsed
        request = _request(origin, path, address, delivery)
        if request is None:
            return Receipt("refused", reason="invalid_header")
        try:
            answer = await self._exchange(
                _Route(origin, address.networks), request, called_at + delivery.timeout_seconds
            )
        except RefusedError as error:
            return Receipt("refused", reason=error.code)
        except NotSentError as error:
            return Receipt("retry", reason=error.code)
        except NoAnswerError as error:
            return Receipt("unknown", http_status=error.status, reason=error.code)
        return self._receipt(answer)

    async def _probe(
        self, probe: Probe, address: TargetAddress | InterlockError, called_at: float
    ) -> ProbeAnswer:
        if isinstance(address, InterlockError):
            return ProbeAnswer("unknown", reason=address.code)
        parsed = _parse(address.url)
        if parsed is None:
            return ProbeAnswer("unknown", reason="invalid_address")
        origin, path = parsed
        request = _question(origin, path, address, probe)
        if request is None:
            return ProbeAnswer("unknown", reason="invalid_header")
        try:
            answer = await self._exchange(
                _Route(origin, address.networks), request, called_at + probe.timeout_seconds
            )
        except NotSentError as error:
            return ProbeAnswer("unknown", reason=error.code)
        except NoAnswerError as error:
            return ProbeAnswer("unknown", http_status=error.status, reason=error.code)
        return self._told(answer)

    async def _exchange(self, route: _Route, request: bytes, until: float) -> Answer:
        """Send ``request`` and wait for its answer; all of it, waiting for a permit too, ends at ``until``.

        Raises:
            NotSentError: nothing was sent, and nothing will be.
            NoAnswerError: it was sent, or a part of it.
        """
        loop = asyncio.get_running_loop()
        state = self._state()
        sending = False
        try:
            async with asyncio.timeout_at(until), state.permits:
                connection = await self._take(state, route)
                if loop.time() >= until:
                    # A process that stood still for a while must not go on with what it was about to send.
                    self._give_back(state, route, connection)
                    raise TimeoutError
                sending = True
                answer = await connection.exchange(request)
        except TimeoutError:
            if sending:
                raise NoAnswerError("timed_out", connection.status) from None
            raise NotSentError("connect_timed_out", route.origin) from None
        self._give_back(state, route, connection)
        return answer

    async def _take(self, state: _LoopState, route: _Route) -> Connection:
        idle = state.idle.get(route, [])
        oldest = asyncio.get_running_loop().time() - LONGEST_IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.abort()
        tls = self._verification() if route.origin.scheme == "https" else None
        return await connect(route.origin, route.networks, tls)

    def _give_back(self, state: _LoopState, route: _Route, connection: Connection) -> None:
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            state.idle.setdefault(route, []).append(connection)
        else:
            connection.abort()

    def _verification(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _receipt(self, answer: Answer) -> Receipt:
        status, body = answer.status, bytes(answer.body)
        if 200 <= status < 300:
            repeated = answer.headers.get("idempotent-replayed", "").strip().lower() == "true"
            return Receipt("confirmed", http_status=status, body=body, repeated=repeated)
        asked = answer.headers.get("retry-after")
        wait = retry_after_seconds(asked, self._clock.now()) if asked else None
        reason = f"http_{status}"
        if status in _CERTAINLY_NOT_TAKEN or (status == 503 and wait is not None):
            return Receipt("retry", http_status=status, body=body, reason=reason, retry_after_seconds=wait)
        if status >= 500 or _may_tell_of_an_effect(status):
            # It may have failed before the effect or after it: only one that honours keys may be asked again.
            return Receipt("unknown", http_status=status, body=body, reason=reason, retry_after_seconds=wait)
        return Receipt("refused", http_status=status, body=body, reason=reason)

    def _told(self, answer: Answer) -> ProbeAnswer:
        body = bytes(answer.body)
        if answer.status in (200, 404):
            return ProbeAnswer("applied" if answer.status == 200 else "not_applied", answer.status, body)
        asked = answer.headers.get("retry-after")
        wait = retry_after_seconds(asked, self._clock.now()) if asked else None
        return ProbeAnswer("unknown", answer.status, body, f"http_{answer.status}", wait)

    def _state(self) -> _LoopState:
        loop = asyncio.get_running_loop()
        state = self._states.get(loop)
        if state is None:
            state = _LoopState(asyncio.Semaphore(self._concurrency))
            with self._lock:
                self._states[loop] = state
        return state


def _may_tell_of_an_effect(status: int) -> bool:
    """Whether the answer refuses the request, or tells of what it, or an earlier one with its key, has led to.

    409 is how targets that honour keys say that an earlier request with the key is still being processed, and how
    others say that something is there already. A redirect after a POST often leads to what the POST has made; only
    307 and 308 say that the same request must be sent to another address, as it was not processed at this one.
    """
    return status == _IN_CONFLICT or (300 <= status < 400 and status not in _SEND_IT_ELSEWHERE)


def _receipt_of(answer: Receipt | BaseException) -> Receipt:
    """The boundary: a defect in one delivery is that one's answer, and says the least: it may have been sent."""
    if isinstance(answer, Receipt):
        return answer
    if not isinstance(answer, Exception):
        raise answer
    _log.error("a delivery met a defect", exc_info=answer)
    return Receipt("unknown", reason="defect")


def _answer_of(answer: ProbeAnswer | BaseException) -> ProbeAnswer:
    """The boundary: a defect in one question is that one's answer."""
    if isinstance(answer, ProbeAnswer):
        return answer
    if not isinstance(answer, Exception):
        raise answer
    _log.error("a probe met a defect", exc_info=answer)
    return ProbeAnswer("unknown", reason="defect")


def _request(origin: Origin, path: str, address: TargetAddress, delivery: Delivery) -> bytes | None:
    """The request's bytes, or None when a value cannot stand in its path or in a header."""
    first, *parts = delivery.path.split("/")
    if first or not parts or any(_segment(part) != part for part in parts):
        return None
    head = _head(
        "POST",
        f"{path}{delivery.path}",
        origin,
        address,
        {
            "Content-Type": "application/json",
            "Content-Length": str(len(delivery.body)),
            **delivery.headers,
            "Interlock-Tenant": delivery.tenant_id,
            "Interlock-Orchestration": delivery.orchestration_id,
            **({"traceparent": delivery.traceparent} if delivery.traceparent is not None else {}),
        },
    )
    return head + delivery.body if head is not None else None


def _question(origin: Origin, path: str, address: TargetAddress, probe: Probe) -> bytes | None:
    """A probe's bytes, or None when a value cannot stand in its path or in a header."""
    key = _segment(probe.idempotency_key)
    if key is None:
        return None
    return _head(
        "GET",
        path + probe.path.replace("{key}", key),
        origin,
        address,
        {
            "Accept": "application/json",
            "Interlock-Tenant": probe.tenant_id,
            "Interlock-Orchestration": probe.orchestration_id,
            **({"traceparent": probe.traceparent} if probe.traceparent is not None else {}),
        },
    )


def _segment(value: str) -> str | None:
    """``value`` as one segment of a path; None for what a server would drop, or take for another folder."""
    if value in ("", ".", "..") or not value.isprintable():
        return None
    return quote(value, safe="")


def _head(
    method: str, path: str, origin: Origin, address: TargetAddress, headers: Mapping[str, str]
) -> bytes | None:
    """Request line and headers; None when a value could end its line, or is not ASCII."""
    host = origin.host if ":" not in origin.host else f"[{origin.host}]"
    every = {"Host": f"{host}:{origin.port}", "User-Agent": "interlock", **headers}
    if address.authorization is not None:
        every["Authorization"] = address.authorization
    if not _PATH.fullmatch(path) or not all(_VISIBLE.fullmatch(value) for value in every.values()):
        return None
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items()), "\r\n"]
    return "\r\n".join(lines).encode("ascii")


@lru_cache(maxsize=1024)
def _parse(url: str) -> tuple[Origin, str] | None:
    try:
        scheme, host, port, path = read_target_url(url)
    except InvalidTargetUrlError:
        return None
    return Origin(scheme, host, port), path
