"""Settings are refused with words when they cannot work."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from config import settings
from config.settings import SettingsError, broker_url


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of this machine, and none remembered from another test."""
    for name in list(os.environ):
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def test_without_a_url_both_servers_are_the_run_folders_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker started by hand finds the servers that `up` started, from the folder's path alone."""
    monkeypatch.setenv("INTERLOCK_HOME", "/srv/il")

    chosen = settings.load()

    assert chosen.effective_database_url == "postgresql://postgres@/interlock?host=%2Fsrv%2Fil%2Fpostgres"
    assert chosen.effective_redis_url == "unix:///srv/il/redis/redis.sock?db=0"
    assert chosen.broker_url == "redis+socket:///srv/il/redis/redis.sock?virtual_host=0"


def test_a_redis_url_reaches_celery_unchanged_unless_it_is_a_socket() -> None:
    """redis-py and kombu spell a Unix socket differently."""
    assert broker_url("rediss://:pw@host:6380/2") == "rediss://:pw@host:6380/2"
    assert broker_url("unix:///tmp/a%20b.sock?db=3") == "redis+socket:///tmp/a b.sock?virtual_host=3"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("INTERLOCK_BATCH_SIZE", "0", "INTERLOCK_BATCH_SIZE"),
        ("INTERLOCK_API_PORT", "seventy", "INTERLOCK_API_PORT"),
        ("INTERLOCK_DATABASE_URL", "mysql://u:hunter2@h/d", "postgresql://"),
        ("INTERLOCK_REDIS_URL", "amqp://h", "redis://"),
        ("INTERLOCK_DATABSE_URL", "postgresql://h/d", "INTERLOCK_DATABASE_URL"),
        ("INTERLOCK_VISIBILITY_TIMEOUT_SECONDS", "30", "INTERLOCK_UNSAFE_VISIBILITY_TIMEOUT_SECONDS"),
    ],
)
def test_what_cannot_work_is_refused_by_name_and_its_value_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """A URL may hold a password: the message names the variable, never what is in it."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as refused:
        settings.load()

    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_variables_that_documents_refer_to_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a near miss of a setting is an error."""
    monkeypatch.setenv("INTERLOCK_SECRET_PAGER", "x")
    monkeypatch.setenv("INTERLOCK_DEMO_SINK_URL", "http://127.0.0.1:1")

    assert settings.load().batch_size == 64


def test_redelivery_may_come_early_only_under_the_name_that_says_unsafe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Below the longest step a message would be worked on twice at once; tests of that say so."""
    monkeypatch.setenv("INTERLOCK_UNSAFE_VISIBILITY_TIMEOUT_SECONDS", "2")

    assert settings.load().effective_visibility_timeout_seconds == 2


@pytest.mark.parametrize(
    ("value", "modules"),
    [("", ()), ("team.tools", ("team.tools",)), (" team.tools, other , ", ("team.tools", "other"))],
)
def test_a_teams_modules_of_tools_are_named_with_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, modules: tuple[str, ...]
) -> None:
    monkeypatch.setenv("INTERLOCK_TOOL_MODULES", value)

    assert settings.load().tool_modules == modules
