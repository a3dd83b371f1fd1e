"""What every test may ask for."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.adapters.postgresql.migrate import upgrade
from app.supervisor.embedded import EmbeddedServers

_NUMBERS = itertools.count(1)


@pytest.fixture
def home() -> Iterator[Path]:
    """A run folder of the test's own, near the root: a Unix socket's path must be short, and PostgreSQL,
    which is never root, must be let through every folder above (pytest's own are closed)."""
    yield from _folder()


@pytest.fixture(scope="module")
def module_home() -> Iterator[Path]:
    """A run folder that all tests of a module share."""
    yield from _folder()


def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="interlock-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A migrated, empty database that lives as long as the session: the template of the tests' own."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-test-"))
    try:
        with EmbeddedServers(folder, durable=False, redis=False) as servers:
            upgrade(servers.database_url)
            yield servers.database_url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_database(database_url: str) -> Iterator[Callable[[], str]]:
    """Makes migrated, empty databases of the test's own: copies of the session's."""
    yield from _making(database_url)


@pytest.fixture(scope="module")
def module_database(database_url: str) -> Iterator[str]:
    """A migrated, empty database that all tests of a module share."""
    for make in _making(database_url):
        yield make()


def _making(database_url: str) -> Iterator[Callable[[], str]]:
    server = database_url.replace("/interlock?", "/postgres?")
    made: list[str] = []
    with psycopg.connect(server, autocommit=True) as connection:

        def make() -> str:
            made.append(f"test_{next(_NUMBERS)}")
            connection.execute(f"CREATE DATABASE {made[-1]} TEMPLATE interlock")
            return database_url.replace("/interlock?", f"/{made[-1]}?")

        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def fresh_database(make_database: Callable[[], str]) -> str:
    """A migrated, empty database of the test's own."""
    return make_database()
