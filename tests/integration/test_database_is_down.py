"""Bad weather: the database is away. Nothing is accepted, everybody is told, and nothing else stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from app import bootstrap
from app.api.application import create_application
from config.settings import Settings
from tests.breakers import remote

KEY = "a-key-that-nobody-can-look-up-now"


@pytest.fixture
def services(tmp_path: Path) -> bootstrap.Services:
    """The real wiring, over an address where no PostgreSQL and no Redis listen."""
    settings = Settings(
        home=tmp_path,
        database_url=f"postgresql://postgres@/interlock?host={tmp_path}",
        redis_url=f"unix://{tmp_path}/redis.sock?db=0",
    )
    return bootstrap.Services(settings, bootstrap.celery_application(settings), "interlock_api")


def test_a_question_to_a_model_passes_its_breaker_and_is_told_of(services: bootstrap.Services) -> None:
    """Promise: breakers are closed when neither Redis nor what operators ordered can be read; nobody is stopped."""

    async def ask() -> bool:
        admission = await services.breakers.admit(remote())
        await services.breakers.tell(remote(), admission, "failed")
        return admission.admitted

    assert all(services.event_loop.run(ask()) for _ in range(10))
    services.close()


def test_an_event_is_answered_with_503_and_health_is_answered_meanwhile(services: bootstrap.Services) -> None:
    """Promise: 503, nothing accepted; and a probe of the process is not kept waiting by the database."""
    answered: list[str] = []

    async def ask(client: httpx2.AsyncClient, method: str, path: str) -> httpx2.Response:
        response = await client.request(method, path, headers={"X-API-Key": KEY}, content=b"{}")
        answered.append(path)
        return response

    async def both() -> tuple[httpx2.Response, httpx2.Response]:
        transport = httpx2.ASGITransport(app=create_application(services))
        async with httpx2.AsyncClient(transport=transport, base_url="http://interlock", timeout=60) as client:
            event = asyncio.create_task(ask(client, "POST", "/v1/events"))
            await asyncio.sleep(0)
            health = await ask(client, "GET", "/healthz")
            return await event, health

    refused, health = asyncio.run(both())
    services.close()
    assert answered == ["/healthz", "/v1/events"]
    assert health.status_code == 200
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (503, "unavailable")
    assert "database" in problem["detail"]
