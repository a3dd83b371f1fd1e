"""``python -m app budgets``: an operator sees what is spent, what is held, and what is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.adapters.postgresql.budgets import PostgresqlBudgets
from app.adapters.postgresql.database import Database
from app.data_plane.budgets.reservations import Account, Amounts, Wanted
from tests.commands import Say, saying

Tell = Callable[..., str]


@pytest.fixture
def tell(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Tell]:
    """Runs the command; what it said."""
    for say in saying(monkeypatch, capsys, fresh_database, tmp_path, columns=120):

        def run(*arguments: str, code: int = 0, say: Say = say) -> str:
            ended, text = say("budgets", *arguments)
            assert ended == code, text
            return text

        yield run


def reserve(url: str) -> None:
    """A question under way whose worst case is a third of its tenant's budget."""
    database = Database(url, "interlock_worker")
    account = Account("demo/2026-11", "tenant", {"nano_usd": 3_000_000, "calls": 3})
    wanted = Wanted("res_1", "demo", "run_1", 1, Amounts(nano_usd=1_000_000, calls=1), (account,))
    assert PostgresqlBudgets(database).reserve([wanted]) == [None]
    database.close()


def test_nothing_asked_yet_says_where_budgets_stand(tell: Tell) -> None:
    assert "Budgets stand in tenants' documents" in tell("list")
    assert json.loads(tell("list", "--json")) == {"budgets": []}


def test_a_line_says_what_is_held_and_what_is_left(tell: Tell, fresh_database: str) -> None:
    reserve(fresh_database)
    shown = tell("list", "--tenant", "demo")
    assert "demo/2026-11" in shown
    assert "0.003000" in shown
    assert "0.002000" in shown
    calls, money = json.loads(tell("list", "--tenant", "demo", "--json"))["budgets"]
    assert (calls["unit"], calls["reserved"], calls["free"]) == ("calls", 1, 2)
    assert (money["unit"], money["free"]) == ("nano_usd", 2_000_000)


def test_another_tenants_budget_is_not_seen(tell: Tell, fresh_database: str) -> None:
    reserve(fresh_database)
    assert "demo/2026-11" not in tell("list", "--tenant", "other")


def test_a_level_that_is_none_is_refused_in_words(tell: Tell) -> None:
    assert "Choose one of tenant, orchestration, run" in tell("list", "--level", "call", code=1)
