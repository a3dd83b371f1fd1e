"""``/healthz`` says that the process answers, ``/readyz`` that it can accept events now."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter

from app.api.problems import Problem
from app.api.services import ApiServices


def health_router(services: ApiServices) -> APIRouter:
    """The routes, wired to their services."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="Whether events are accepted", responses={503: {"model": Problem}})
    async def readyz() -> dict[str, str]:
        await to_thread.run_sync(services.check_ready)
        return {"status": "ready"}

    return router
