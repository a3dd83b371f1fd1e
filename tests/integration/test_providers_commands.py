"""``providers status``, ``history`` and forcing a breaker, over a real database and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.adapters.breaker_book import BreakerBook
from app.adapters.postgresql.breakers import PostgresqlBreakers
from app.adapters.postgresql.catalogue import PostgresqlCatalogue
from app.adapters.postgresql.database import Database
from app.adapters.redis.breakers import RedisBreakers
from app.adapters.redis.connection import connect
from app.control_plane.publishing import Change, Plan
from app.kernel.release import Provider, Release
from app.supervisor.embedded import EmbeddedServers
from tests.branching_workflow import branching_release
from tests.breakers import remote
from tests.commands import Ask, Json, Say, asking, saying

SIGNED = ("--actor", "alice", "--reason", "they told us so")
ACME = remote(failures=3, open_seconds=45.0)


@pytest.fixture
def servers(home: Path) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(home, postgresql=False) as started:
        yield started


@pytest.fixture
def say(
    servers: EmbeddedServers,
    fresh_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Say]:
    """Runs a command; gives its exit code and what it printed (the error, if it failed)."""
    monkeypatch.setenv("INTERLOCK_REDIS_URL", servers.redis_url)
    for say in saying(monkeypatch, capsys, fresh_database, tmp_path, columns=200):
        yield partial(say, "providers")


@pytest.fixture
def ask(say: Say) -> Ask:
    """The same with ``--json``."""
    return asking(say)


def publish(url: str, *providers: Provider, route: bool = True) -> None:
    """A release that names these providers beside its scripted one."""
    plain = branching_release()
    release = Release(
        template=plain.template,
        agents=plain.agents,
        providers={**plain.providers, **{f"p{n}": one for n, one in enumerate(providers)}},
        policy=plain.policy,
        tools=plain.tools,
    )
    database = Database(url, "interlock_control")
    catalogue = PostgresqlCatalogue(database)
    catalogue.publish(Plan((), (release,), 0, 0), "tests")
    if route:
        catalogue.route(release.workflow, "stable", release.digest, Change("tests", "tests"))
    database.close()


def fail(servers: EmbeddedServers, url: str, times: int) -> None:
    """As workers, whose questions to ACME failed so often."""
    database = Database(url, "interlock_worker")
    breakers = RedisBreakers(connect(servers.redis_url), BreakerBook(PostgresqlBreakers(database)))

    async def ask_it() -> None:
        for _ in range(times):
            await breakers.tell(ACME, await breakers.admit(ACME), "failed")

    asyncio.run(ask_it())
    breakers.close()
    database.close()


def of(told: Json, provider: str) -> Json:
    """The row of one provider."""
    rows = told["providers"]
    assert isinstance(rows, list)
    (row,) = [row for row in rows if row["provider"] == provider]
    assert isinstance(row, dict)
    return row


def code_of(told: Json) -> object:
    error = told["error"]
    assert isinstance(error, dict)
    assert error["remedy"] or error["code"] == "order_stands"
    return error["code"]


def test_nothing_published_and_nothing_recorded_is_said(ask: Ask, say: Say) -> None:
    """Empty states are clear."""
    assert ask("status") == (0, {"redis": True, "providers": [], "changes": []})
    assert say("status") == (0, "No release takes traffic yet, and no breaker is open or forced.")
    assert say("history") == (0, "No breaker of any provider has moved or was ordered to.")
    assert ask("history", "acme") == (0, {"history": []})


def test_status_shows_providers_that_take_traffic_with_their_state_count_and_next_probe(
    say: Say, ask: Ask, fresh_database: str, servers: EmbeddedServers
) -> None:
    publish(fresh_database, ACME)
    fail(servers, fresh_database, 2)
    row = of(ask("status")[1], "acme")
    assert (row["kind"], row["state"], row["failures"], row["threshold"]) == (
        "openai_compatible",
        "closed",
        2,
        3,
    )
    fail(servers, fresh_database, 1)
    told = ask("status")[1]
    row = of(told, "acme")
    assert (row["state"], row["order"]) == ("open", None)
    assert str(row["probed_at"]) > str(row["since"])
    scripted = [one for one in told["providers"] if one["kind"] == "scripted"]  # type: ignore[attr-defined]
    assert {one["state"] for one in scripted} == {None}, "it has no breaker"
    code, text = say("status")
    assert code == 0
    assert "no breaker" in text
    assert "probes it" in text
    assert "acme (large)  closed -> open: 3 failures in a row" in text


def test_a_breaker_that_no_routed_release_names_is_shown_while_it_is_open_or_forced(
    ask: Ask, fresh_database: str, servers: EmbeddedServers
) -> None:
    """Orchestrations that run stay with the release they are pinned to, and ask through it."""
    publish(fresh_database, ACME, remote("other"), route=False)
    assert ask("status")[1]["providers"] == []
    fail(servers, fresh_database, 3)
    assert of(ask("status")[1], "acme")["routed"] is False
    ask("force-open", "other", *SIGNED)
    assert of(ask("status")[1], "other")["state"] == "closed"


def test_without_redis_status_says_so_and_still_shows_what_is_forced(
    ask: Ask, say: Say, fresh_database: str, servers: EmbeddedServers
) -> None:
    publish(fresh_database, ACME)
    assert servers.redis is not None
    servers.redis.stop()
    assert say("force-open", "acme", *SIGNED)[0] == 0
    told = ask("status")[1]
    assert told["redis"] is False
    row = of(told, "acme")
    assert row["state"] is None
    order = row["order"]
    assert isinstance(order, dict)
    assert (order["to"], order["actor"], order["reason"]) == ("forced_open", "alice", "they told us so")
    code, text = say("status")
    assert code == 0
    assert "Redis does not answer" in text
    assert "acme (large): forced_open by alice, they told us so, since" in text


def test_forcing_and_releasing_are_kept_with_who_and_why(ask: Ask, say: Say, fresh_database: str) -> None:
    """Promise: an operator can force a breaker open or closed with a reason, audited."""
    publish(fresh_database, ACME)
    assert say("force-open", "acme", *SIGNED) == (
        0,
        "acme (large) is forced_open: nobody asks it, and agents go on to their next provider."
        " Workers obey within about a second.",
    )
    assert ask("force-closed", "acme", "--actor", "bob", "--reason", "no, they are back")[0] == 0
    assert ask("release", "acme", "--actor", "bob", "--reason", "quiet again")[0] == 0
    entries = ask("history", "acme")[1]["history"]
    assert isinstance(entries, list)
    assert [(one["to"], one["actor"], one["reason"]) for one in entries] == [
        ("released", "bob", "quiet again"),
        ("forced_closed", "bob", "no, they are back"),
        ("forced_open", "alice", "they told us so"),
    ]
    code, text = say("history", "--limit", "1")
    assert code == 0
    assert "released by bob: quiet again" in text
    assert "--limit 10" in text


def test_a_dry_run_orders_nothing_and_refuses_what_would_be_refused(ask: Ask, fresh_database: str) -> None:
    publish(fresh_database, ACME)
    code, told = ask("force-open", "acme", *SIGNED, "--dry-run")
    assert (code, told["dry_run"], told["to"]) == (0, True, "forced_open")
    assert ask("history")[1] == {"history": []}
    code, told = ask("release", "acme", *SIGNED, "--dry-run")
    assert (code, code_of(told)) == (1, "order_stands")


def test_what_cannot_be_ordered_is_refused_with_what_to_do(ask: Ask, fresh_database: str) -> None:
    publish(fresh_database, ACME, remote("two", "a"), remote("two", "b"))
    (scripted,) = {one.name for one in branching_release().providers.values()}

    def refused(*arguments: str) -> object:
        code, told = ask(*arguments)
        assert code == 1
        return code_of(told)

    assert refused("force-open", "nobody", *SIGNED) == "unknown_breaker"
    assert refused("force-open", "acme", "--model", "small", *SIGNED) == "unknown_breaker"
    assert refused("force-open", "two", *SIGNED) == "ambiguous_model"
    assert refused("force-open", scripted, *SIGNED) == "no_breaker"
    assert refused("force-open", "acme", "--reason", "why") == "unexplained_order"
    assert refused("force-open", "acme", "--actor", "alice", "--reason", " ") == "unexplained_order"
    assert refused("release", "acme", *SIGNED) == "order_stands"
    assert ask("force-open", "two", "--model", "b", *SIGNED)[0] == 0
    assert refused("force-open", "two", "--model", "b", *SIGNED) == "order_stands"
    rows = ask("status")[1]["providers"]
    assert isinstance(rows, list)
    assert {row["model"]: bool(row["order"]) for row in rows if row["provider"] == "two"} == {
        "a": False,
        "b": True,
    }
