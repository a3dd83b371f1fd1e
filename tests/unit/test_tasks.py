"""What every Celery task promises, whatever its work does."""

from __future__ import annotations

from celery.worker.control import Panel

from app.adapters.celery import inspection_only


def test_a_worker_answers_inspection_and_denies_control(monkeypatch) -> None:
    """Secure by default: a broadcast over the broker shuts no worker down."""
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    inspection_only._take_control_commands()
    assert {"ping", "active", "stats"} <= set(Panel.data)
    assert not {"shutdown", "revoke", "terminate", "rate_limit", "pool_grow", "cancel_consumer"} & set(
        Panel.data
    )
