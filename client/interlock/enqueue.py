"""Enqueueing from a host application: a signed or encrypted event on the broker, and an id before anything is sent."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace

from celery import Celery
from celery.exceptions import CeleryError
from kombu import Queue
from kombu.exceptions import KombuError

from interlock import strict_json
from interlock.canonical import JsonValue
from interlock.envelope import Envelope
from interlock.errors import BrokerUnavailableError, InvalidInputError
from interlock.identity import event_key, orchestration_id
from interlock.ingestion_message import check_workflow, sealed, sign

TASK = "interlock.ingestion.accept"
QUEUE = "ingestion"
MIN_KEY_BYTES = 16
NONCE_BYTES = 12


class Client:
    """Sends one tenant's events to Interlock. One instance serves all threads of a process.

    It has its own Celery application, which never becomes the host's current one. Where the host traces with
    OpenTelemetry, an event without a ``traceparent`` gets that of the current span: what the event starts is then part
    of the host's trace.

    Args:
        broker_url: the broker that Interlock's workers listen to, as ``redis://host:6379/0``.
        tenant: whose events these are.
        signing_key: the tenant's signing key, at least 16 bytes.
        timeout_seconds: for each try to connect and to send; there are at most ``tries`` of them.
        max_bytes: length of an event's JSON that the service takes.
        encrypt: whether events are encrypted on the broker. True wants the extra ``encryption``; False sends them
            readable, and signed; None encrypts where the extra is installed. The service must know format 2: upgrade
            it before the hosts.

    Raises:
        InvalidInputError: ``weak_key``, or ``encryption_unavailable`` when ``encrypt`` is True without the extra.
    """

    def __init__(
        self,
        broker_url: str,
        tenant: str,
        signing_key: bytes,
        *,
        timeout_seconds: float = 2.0,
        tries: int = 2,
        max_bytes: int = strict_json.MAX_BYTES,
        encrypt: bool | None = None,
    ) -> None:
        if len(signing_key) < MIN_KEY_BYTES:
            raise InvalidInputError(
                "weak_key",
                f"The signing key has fewer than {MIN_KEY_BYTES} bytes.",
                "Use the tenant's signing key as the service holds it.",
            )
        self._encrypts = encrypt is not False and _can_encrypt()
        if encrypt and not self._encrypts:
            raise InvalidInputError(
                "encryption_unavailable",
                "Events cannot be encrypted: the package cryptography is not installed.",
                'Install the extra: pip install "interlock[encryption]".',
            )
        self._tenant = tenant
        self._key = signing_key
        self._max_bytes = max_bytes
        self._retries = max(0, tries - 1)
        self._app = _celery(broker_url, timeout_seconds, self._retries)

    def enqueue(self, event: Envelope, *, workflow: str) -> str:
        """Have ``workflow`` run for ``event``; the orchestration's id, derived before anything is sent.

        Raises:
            InvalidInputError: the event is not the tenant's, not JSON or too large; nothing was sent.
            BrokerUnavailableError: the broker did not confirm it; sending it again is harmless.
        """
        check_workflow(workflow)
        derived = orchestration_id(self._tenant, event.source, event.id, workflow)
        self._send(event, workflow)
        return derived

    def publish(self, event: Envelope) -> str:
        """Have every workflow that subscribes to the event's type run for it; the event's id.

        Raises as ``enqueue`` does.
        """
        self._send(event, None)
        return event.id

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()

    def _send(self, event: Envelope, workflow: str | None) -> None:
        if event.tenantid != self._tenant:
            raise InvalidInputError(
                "wrong_tenant",
                "The event's tenantid is not the client's tenant.",
                "Make the event for the tenant whose signing key this client has.",
            )
        if event.traceparent is None:
            event = replace(event, traceparent=_current_traceparent())
        message = self._message(event, workflow)
        try:
            self._app.send_task(
                TASK,
                args=[message],
                queue=QUEUE,
                task_id=event_key(event.tenantid, event.source, event.id),
                argsrepr="(event)",
                kwargsrepr="{}",
                ignore_result=True,
                retry=self._retries > 0,
                retry_policy={"max_retries": self._retries, "interval_start": 0, "interval_max": 0.5},
            )
        except (OSError, KombuError, CeleryError) as error:
            raise BrokerUnavailableError(
                "broker_unavailable",
                f"The broker did not take the event ({type(error).__name__}).",
                "Check that the broker's address is right and that it is running, then send the event again.",
            ) from error

    def _message(self, event: Envelope, workflow: str | None) -> dict[str, JsonValue]:
        most = self._max_bytes
        if not self._encrypts:
            return sign(event, workflow, self._key, max_bytes=most).to_json()
        nonce = os.urandom(NONCE_BYTES)
        return sealed(event, workflow, self._key, max_bytes=most, nonce=nonce).to_json()


def _can_encrypt() -> bool:
    try:
        importlib.import_module("interlock.sealing")
    except ImportError:
        return False
    return True


def _current_traceparent() -> str | None:
    """Of the host's current span (W3C Trace Context). A host that has not imported OpenTelemetry has none."""
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is None:
        return None
    found = tracing.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags & 1:02x}"


def _celery(broker_url: str, timeout_seconds: float, retries: int) -> Celery:
    if broker_url.startswith("unix://"):
        broker_url = broker_url.replace("unix://", "redis+socket://", 1)  # as kombu spells redis-py's scheme
    app = Celery("interlock-client", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_queues=[Queue(QUEUE)],
        task_create_missing_queues=False,
        broker_connection_timeout=timeout_seconds,
        broker_transport_options={
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            "socket_keepalive": True,
            "retry_on_timeout": False,
            "max_retries": retries,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.5,
            "connect_retries_timeout": timeout_seconds * (retries + 1),
        },
    )
    return app
