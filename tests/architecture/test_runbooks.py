"""Each alert has a runbook and each runbook its alert; what a runbook says to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from app.cli.main import COMMANDS, build
from config.settings import CHECKOUT
from tests.architecture.test_dashboards import RUNBOOKS, unknown_metrics
from tests.documented import blocks
from tests.prometheus import Rule, in_seconds, promtool, rules

HEADINGS = ["What it means", "How bad", "Find out", "Repair", "False alarms"]
ALERTS = [rule for rule in rules() if rule.is_alert]
PAGES = sorted(RUNBOOKS.glob("*.md"))


def named(page: Path) -> str:
    """As ``tests.documented`` is told of it."""
    return str(page.relative_to(CHECKOUT))


def commands_of(text: str) -> list[str]:
    """The command lines of a page, in blocks and within sentences."""
    return [
        line.strip("`")
        for line in re.findall(r"^python -m app .*$|`python -m app [^`]*`", text, re.MULTILINE)
    ]


def assert_can_be_typed(line: str) -> None:
    """Every command and option exists, and no argument is missing."""
    python, module, name, first, *words = shlex.split(line)
    assert (python, module, name) == ("python", "-m", "app")
    assert first in COMMANDS, f"{line}: there is no {first}"
    group = typer.main.get_command(build([first]))
    command = group.get_command(group.make_context("app", [first], resilient_parsing=True), first)
    while isinstance(command, typer.core.TyperGroup):
        assert words, f"{line}: a command is missing"
        command = command.commands.get(words.pop(0))
    assert command is not None, f"{line}: there is no such command"
    command.make_context(line, words)


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    """By name."""
    assert [page.stem for page in PAGES] == sorted(alert.name for alert in ALERTS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: Rule) -> None:
    """Somebody who is woken reads the summary first, and follows the path."""
    assert alert.body["labels"]["severity"] in {"page", "ticket"}
    assert alert.body["labels"]["system"] == "interlock"
    notes = alert.body["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert len(notes["summary"]) <= 100
    assert notes["runbook"] == f"dashboards/runbooks/{alert.name}.md"
    assert "* 60" in alert.expr or not re.search(r"_seconds\)? >", alert.expr), "a time is written in minutes"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_a_rule_names_only_metrics_that_there_are(rule: Rule) -> None:
    """And recorded series that the files record."""
    assert unknown_metrics(rule.expr) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_five_headings_and_commands_that_can_be_typed(page: Path) -> None:
    """In the order in which they are needed."""
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    for line in commands_of(text):
        assert_can_be_typed(line)
    for link in re.findall(r"\]\(([^)]*)\)", text):
        assert (RUNBOOKS / link).is_file(), link


def test_every_expression_of_the_pages_parses_and_names_what_there_is(tmp_path: Path) -> None:
    """They are typed into Prometheus as they stand."""
    found = [line for page in PAGES for body in blocks(named(page), "promql") for line in body.splitlines()]
    assert len(found) > len(PAGES)
    assert [expr for expr in found if unknown_metrics(expr)] == []
    series = [{"record": f"page:{number}", "expr": expr} for number, expr in enumerate(found)]
    wrapped = tmp_path / "pages.yml"
    wrapped.write_text(yaml.safe_dump({"groups": [{"name": "pages", "rules": series}]}))
    checked = promtool("check", "rules", wrapped)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_minutes_become_seconds() -> None:
    """What the tests of alerts ask a real Prometheus is the same rules, sixty times as quick."""
    quick = in_seconds("expr: max(a_seconds) > 5 * 60 and rate(b:ratio_rate1h[1h]) > 6 * 0.01\nfor: 2m")
    assert quick == "expr: max(a_seconds) > 5 * 1 and rate(b:ratio_rate1h[60s]) > 6 * 0.01\nfor: 2s"


def test_alerts_wait_as_long_as_they_should() -> None:
    """Hours of series, which no running system has: promtool plays them through the rules as they are shipped."""
    played = promtool("test", "rules", Path(__file__).with_name("alert_timing.yml"))
    assert played.returncode == 0, played.stdout + played.stderr
