"""The HTTP API: ``uvicorn --factory app.api.application:create``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from app.api import problems
from app.api.events import events_router
from app.api.health import health_router
from app.api.services import ApiServices
from app.api.webhooks import webhooks_router


def create() -> FastAPI:
    """The API wired by bootstrap, for uvicorn."""
    from app.bootstrap import api_process

    return create_application(api_process())


def create_application(services: ApiServices) -> FastAPI:
    """The API over ``services``, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await to_thread.run_sync(services.close)

    # The framework's pages for people load scripts from elsewhere: the description alone is served.
    application = FastAPI(title="Interlock", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    problems.install(application)
    application.include_router(health_router(services))
    application.include_router(events_router(services))
    application.include_router(webhooks_router(services))
    return application
