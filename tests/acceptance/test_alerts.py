"""Promise: each alert fires under its fault and is silent without it, and every expression of every page has data.

A real Prometheus scrapes a running system by the shipped configuration; its rules are the shipped ones, and a minute is
a second. ``make alerts`` prints how long each alert took after its fault.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.watched_system import CALLS, SPENDER, Watched, wait_until_scraped, watched_system
from tests.architecture.test_dashboards import FILES, expressions, loaded, variables_of
from tests.eventually import assert_eventually
from tests.prometheus import rules, substituted

ALERTS = [rule.name for rule in rules() if rule.is_alert]
STEADY = 6
PATIENCE_SECONDS = 90.0
SEEN_SECONDS = 8
"""How long all must have ended before silence says anything; an alert that is pending is not silent."""

# Alerts by what it takes to see them: a dispatcher that works, traffic that goes on, time, or a process that is gone.
OF_TARGETS = ("DeliveriesFailing", "DeadLettersArriving", "OrchestrationsFailing")
OF_LASTING = (
    *("CircuitOpen", "FallbacksHigh", "DecisionsDegraded", "OrchestrationsSlow", "BudgetNearlySpent"),
    *("DeliveriesInDoubt", "WaitingForRelease", "OrchestrationsFailingSlowly"),
)
OF_WAITING = ("ApprovalsWaiting", "DeadLettersOpen")
OF_PROCESSES = (
    *("QueueWithoutWorker", "QueueOld", "AnchorsStale", "WorkerLost", "ProcessDown", "SpansDropped"),
)
OF_NOBODY = ("MessagesNotTaken", "ExporterBehind")


@dataclass
class Story:
    """What was seen, from the first healthy event to the last fault."""

    without_faults: dict[str, str] = field(default_factory=dict)
    """Alerts that were not silent although nothing was wrong."""
    fired: dict[str, float] = field(default_factory=dict)
    """How many seconds after its fault each alert fired."""
    empty: list[str] = field(default_factory=list)
    """Expressions of dashboards and rules that never had data."""
    told: dict[str, str] = field(default_factory=dict)
    """The first summary of each alert."""


class Telling:
    """Lets it happen, phase by phase."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.story = Story()
        self._began = time.monotonic()
        self._faults: dict[str, float] = {}
        self._sent = 0.0

    def healthy(self) -> None:
        """Traffic of every good kind; then nothing may be pending or have fired."""
        watched = self.watched
        wait_until_scraped(watched)
        assert_eventually(lambda: watched.prometheus.alerts() == {}, what="Prometheus knows what it scrapes")
        since = time.monotonic()
        watched.send("steady", STEADY)
        watched.send("modelled", 2)
        watched.send("costly", tenant=SPENDER)
        watched.send("asking")
        assert_accepted(watched.post())
        assert_accepted(watched.post())
        assert watched.post("no.such.type") == 422
        watched.enqueue()
        watched.system.wait_until_all_ended(consenting="ines")
        ended = f'sum(interlock_orchestrations_closed_total{{status="completed"}}) == {STEADY + 7}'
        assert_eventually(
            lambda: self._value(f"count_over_time(({ended})[1m:1s])") >= SEEN_SECONDS,
            within=PATIENCE_SECONDS,
            what="Prometheus has seen the end of all for long enough to be alarmed",
        )
        # A scrape that took a second too long is a minute here: it passes, what is too eager does not.
        with suppress(AssertionError):
            assert_eventually(lambda: watched.prometheus.alerts() == {}, within=SEEN_SECONDS)
        self.story.without_faults = watched.prometheus.alerts()
        fired = f'count_over_time(ALERTS{{alertstate="firing"}}[{int(time.monotonic() - since)}s])'
        for labels, _ in watched.prometheus.now(fired):
            self.story.without_faults[labels["alertname"]] = "fired"

    def bad_company(self) -> None:
        """Models are down or slow, one target refuses, one hangs, nobody consents, a budget is nearly spent."""
        watched = self.watched
        watched.are_down = True
        watched.send("asking")
        watched.send("newer")
        watched.send("doubtful", 2)
        watched.send("costly", CALLS - 2, tenant=SPENDER)
        self._begin_faults(*OF_TARGETS, *OF_LASTING, *OF_WAITING)
        self._until_firing(("steady", "modelled", "late", "refused"), OF_TARGETS)
        watched.command(
            *("dead-letters", "replay", "--all", "--workflow", "refused", "--limit", "2"),
            *("--actor", "tests", "--reason", "the pager is repaired"),
        )

    def lost_processes(self) -> None:
        """The dispatcher is killed with deliveries due, beat ends, and the store of spans is gone."""
        watched = self.watched
        watched.beat.terminate()
        watched.beat.wait()
        watched.dispatch.kill()
        watched.dispatch.wait()
        watched.lose_the_span_store()
        self._begin_faults(*OF_PROCESSES)
        self._until_firing(("steady", "modelled", "late"), (*OF_PROCESSES, *OF_LASTING))

    def no_hands(self) -> None:
        """Nobody takes messages, and nobody counts."""
        watched = self.watched
        watched.core.kill()
        watched.core.wait()
        watched.enqueue()
        with watched.nobody_counts():
            self._begin_faults(*OF_NOBODY)
            self._until_firing((), (*OF_NOBODY, *OF_WAITING))

    def blind(self) -> None:
        """The exporter is killed."""
        self.watched.exporter.kill()
        self.watched.exporter.wait()
        self._begin_faults("ExporterDown")
        self._until_firing((), ("ExporterDown",))

    def look_at_everything(self) -> None:
        """Every expression of every page and rule, over the time since the beginning."""
        seconds = time.monotonic() - self._began
        for file in FILES:
            page = loaded(file)
            for where, expr in expressions(page):
                if not self.watched.prometheus.series_since(substituted(expr, variables_of(page)), seconds):
                    self.story.empty.append(f"{file.stem}, {where}: {expr}")
        for rule in rules():
            if not rule.is_alert and not self.watched.prometheus.series_since(rule.name, seconds):
                self.story.empty.append(f"rule {rule.name}")

    def _begin_faults(self, *alerts: str) -> None:
        self._faults |= dict.fromkeys(alerts, time.monotonic())

    def _until_firing(self, traffic: Sequence[str], wanted: Sequence[str]) -> None:
        """Let traffic go on until all of these have fired; what does not is told by the test of its name."""

        def fire() -> bool:
            if traffic and time.monotonic() - self._sent > 1.0:
                self._sent = time.monotonic()
                # What comes over the API is traced; what is accepted in this process is not.
                assert_accepted(self.watched.post())
                for workflow in traffic:
                    self.watched.send(workflow)
            for name, state in self.watched.prometheus.alerts().items():
                if state == "firing" and name not in self.story.fired and name in self._faults:
                    self.story.fired[name] = time.monotonic() - self._faults[name]
                    self.story.told[name] = self.watched.prometheus.told(name)[0]["summary"]
            return set(wanted) <= self.story.fired.keys()

        with suppress(AssertionError):
            assert_eventually(fire, within=PATIENCE_SECONDS)

    def _value(self, expr: str) -> float:
        found = self.watched.prometheus.now(expr)
        return found[0][1] if found else 0.0


def assert_accepted(status: int) -> None:
    """The API takes events whatever is broken behind it."""
    assert status == 202


@pytest.fixture(scope="module")
def story(module_database: str, module_home: Path) -> Iterator[Story]:
    """One running system for the whole module."""
    with watched_system(module_database, module_home) as watched:
        telling = Telling(watched)
        telling.healthy()
        telling.bad_company()
        telling.lost_processes()
        telling.no_hands()
        telling.blind()
        telling.look_at_everything()
        print()
        for name, seconds in sorted(telling.story.fired.items(), key=lambda item: item[1]):
            print(f"{name:30} {seconds:5.1f} s after its fault: {telling.story.told[name]}")
        yield telling.story


def test_no_alert_is_pending_or_fired_while_nothing_is_wrong(story: Story) -> None:
    """Whoever is woken must be able to trust it."""
    assert story.without_faults == {}


@pytest.mark.parametrize("name", ALERTS)
def test_the_alert_fires_under_its_fault(story: Story, name: str) -> None:
    """A real fault of a real system, seen by a real Prometheus."""
    assert name in story.fired


def test_every_expression_of_every_dashboard_and_rule_has_data(story: Story) -> None:
    """After traffic of every kind, no panel is empty."""
    assert story.empty == []
