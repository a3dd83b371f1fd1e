"""One served API for each test module; the fakes behind it are new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.api.served import Served, Services, serve
from tests.unit.ingestion.fakes import Ingestion


@pytest.fixture(scope="module")
def _served() -> Iterator[Served]:
    with serve(Services()) as served:
        yield served


@pytest.fixture
def api(_served: Served) -> Served:
    """A running API with an empty store behind it."""
    _served.services.behind = Ingestion()
    return _served
