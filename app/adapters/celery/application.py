"""The Celery application of the service: the settings that were found to matter, and nothing else.

Celery carries ids and may lose them: what is due stands in PostgreSQL's work index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celery import Celery
from kombu import Exchange, Queue

from app.adapters.celery.consumer import ReportingConsumer
from app.adapters.celery.giving_up import GivingUpTask


@dataclass(frozen=True, slots=True)
class Transport:
    """Where the broker is, and how long it holds an unacknowledged message back from other workers."""

    broker_url: str
    visibility_timeout_seconds: float


def create(
    transport: Transport,
    queues: Sequence[str],
    *,
    task_modules: Sequence[str],
    beats: Mapping[str, float],
) -> Celery:
    """The application.

    Args:
        queues: the declared queues; a message to any other is refused.
        task_modules: the modules that register tasks, imported when a worker starts.
        beats: the tasks of the queue ``maintenance`` that beat rings, each with how often, in seconds.
    """
    application = Celery(
        "interlock", set_as_current=False, include=list(task_modules), task_cls=_path(GivingUpTask)
    )
    application.conf.update(
        broker_url=transport.broker_url,
        result_backend=transport.broker_url,
        broker_transport_options=_transport_options(transport),
        result_backend_transport_options=_socket_options(transport),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        redis_socket_timeout=5.0,
        redis_socket_connect_timeout=5.0,
        redis_socket_keepalive=_is_tcp(transport),
        redis_backend_health_check_interval=30,
        result_expires=3600,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Tried again a few times, by its task's own max_retries; then it is a dead letter and not back for ever.
        task_retry_on_worker_lost=True,
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
        task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name) for name in queues],
        task_default_queue=queues[0],
        worker_consumer=_path(ReportingConsumer),
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_soft_shutdown_timeout=10.0,
        # Idle, it would sleep out the whole timeout; what is not begun stands in the work index.
        worker_enable_soft_shutdown_on_idle=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        beat_schedule=_schedule(beats),
        timezone="UTC",
    )
    return application


def _path(one: type) -> str:
    return f"{one.__module__}:{one.__qualname__}"


def _transport_options(transport: Transport) -> dict[str, object]:
    return {
        "visibility_timeout": transport.visibility_timeout_seconds,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        **_socket_options(transport),
    }


def _socket_options(transport: Transport) -> dict[str, object]:
    options: dict[str, object] = {
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 30,
    }
    return {**options, "socket_keepalive": True} if _is_tcp(transport) else options


def _is_tcp(transport: Transport) -> bool:
    return not transport.broker_url.startswith("redis+socket")


def _schedule(beats: Mapping[str, float]) -> dict[str, dict[str, object]]:
    return {
        name: {
            "task": f"interlock.maintenance.{name}",
            "schedule": seconds,
            # A ring that nobody heard in time is worth nothing: the next one says the same.
            "options": {"queue": "maintenance", "expires": seconds * 2},
        }
        for name, seconds in beats.items()
    }
