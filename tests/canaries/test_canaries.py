"""Promise 5: no secret leaves through a side door, and what is left still tells what happened.

Secrets of 24 kinds come in at some thirty places while everything fails that can; then everything is scanned that the
system wrote, holds or shows, except the payload store. A second service, with redaction switched off, is the control:
the same scan must find them there. ``make canaries`` does it with 200 orchestrations.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.canaries import sinks
from tests.canaries.incidents import (
    INCIDENTS,
    Incident,
    look,
    missing,
    traceback_of_the_broken_tool,
)
from tests.canaries.markers import FREE_TEXT, KINDS
from tests.canaries.scanner import Hit, Scanner
from tests.canaries.scene import Played, all_markers, play
from tests.canaries.service import Running, running

EVENTS = int(os.environ.get("CANARY_EVENTS", "48"))
"""Orchestrations; every kind is planted at every place of an event from 24 x 11 on."""

LEAVING = (
    "refused event",
    "reason of an order",
    "reason of a settlement",
    "reason of a replay",
)
"""Places whose words stand in some sink when nothing redacts them: what the control must find."""


@dataclass(frozen=True)
class Scanned:
    """What happened, and what was found of it."""

    played: Played
    hits: frozenset[Hit]
    sinks: frozenset[str]
    size: int


@contextmanager
def _scene(environment: dict[str, str], *, encrypt: bool) -> Iterator[tuple[Running, Played]]:
    folder = Path(tempfile.mkdtemp(prefix="interlock-canaries-"))
    try:
        with running(folder / "home", environment) as one:
            yield one, play(one, EVENTS, encrypt=encrypt)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scan(one: Running, played: Played) -> Scanned:
    scanner = Scanner(all_markers())
    found = sinks.everything(one, played.waited)
    hits = {hit for sink, content in found for hit in scanner.scan(sink, content)}
    return Scanned(
        played,
        frozenset(hit for hit in hits if not _is_meant(hit)),
        frozenset(sink for sink, _ in found),
        sum(len(content) for _, content in found),
    )


def _is_meant(hit: Hit) -> bool:
    """What stands where it must: a foreign message in the queue that it was put into, prose that a command shows."""
    foreign = hit.place == "bad message" and hit.sink in {
        "redis ingestion",
        "redis agent_runs",
        "redis dispatch",
        "redis unacked",
    }
    return foreign or (hit.kind == FREE_TEXT and hit.sink.startswith("command runs"))


@pytest.fixture(scope="module")
def redacted() -> Iterator[tuple[Running, Scanned]]:
    """The service as it is."""
    with _scene({}, encrypt=True) as (one, played):
        yield one, _scan(one, played)


@pytest.fixture(scope="module")
def plain() -> Scanned:
    """The same with redaction switched off, and messages of the client in the clear."""
    with _scene({"INTERLOCK_UNSAFE_NO_REDACTION": "true"}, encrypt=False) as (one, played):
        return _scan(one, played)


def test_everything_took_place(redacted: tuple[Running, Scanned]) -> None:
    """A canary that never came in proves nothing: failures, retries, kills, dead letters, replays, people."""
    one, scanned = redacted
    played = scanned.played
    assert played.killed == ["agent_runs", "dispatch", "orchestration"]
    assert sum(played.statuses.values()) >= EVENTS
    assert {"completed", "cancelled", "dead_lettered"} <= set(played.statuses)
    for kind in ("delivery_retried", "delivery_failed", "model_failed", "tool_failed", "answer_rejected"):
        query = f"SELECT count(*) FROM journal WHERE convert_from(body, 'UTF8') LIKE '%\"kind\":\"{kind}\"%'"
        assert one.number(query) > 0, kind
    assert one.number("SELECT count(*) FROM replays") > 0
    wanted = ("redis ingestion", "table journal", "table spans", "metrics", "flower api tasks", "file up.out")
    assert set(wanted) <= scanned.sinks
    assert scanned.size > 1_000_000
    print(
        f"{sum(played.statuses.values())} orchestrations, {scanned.size:,} bytes in {len(scanned.sinks)} sinks"
    )


def test_no_secret_is_in_any_sink(redacted: tuple[Running, Scanned]) -> None:
    """Not eight characters of one, in any form, in anything but the payload store."""
    _, scanned = redacted
    leaked = {f"{hit.sink}: {hit.kind} of {hit.place}" for hit in scanned.hits}
    assert not leaked, "\n".join(sorted(leaked))


def test_the_same_scan_finds_them_when_nothing_is_redacted(plain: Scanned) -> None:
    """The control: at least nine in ten of what leaves where nothing holds it back."""
    found = {(hit.place, hit.kind) for hit in plain.hits}
    kinds = {hit.kind for hit in plain.hits}
    assert len(kinds) >= 21, kinds
    wanted = {(place, kind) for place, kind in plain.played.told if place in LEAVING}
    assert len(wanted) > len(KINDS)
    print(
        f"control: {len(wanted & found)} of {len(wanted)} found; {len(kinds)} kinds, {len(found)} with their places"
    )
    assert len(wanted & found) / len(wanted) >= 0.9, wanted - found


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.symptom)
def test_an_incident_is_diagnosed_from_what_is_left(
    redacted: tuple[Running, Scanned], incident: Incident
) -> None:
    """Redaction hides what is secret, and not what happened."""
    one, _ = redacted
    said = look(one, incident)
    assert missing(incident, said) == [], said


def test_the_log_says_where_a_tool_broke(redacted: tuple[Running, Scanned]) -> None:
    """The kinds of its errors, the cause too, and the lines of its code; what they said is hidden."""
    one, _ = redacted
    told = traceback_of_the_broken_tool(one)
    assert re.search(r"tests/canaries/tools\.py.*break_note", told), told
    assert re.search(r"ValueError: .*\n.*direct cause.*RuntimeError: ", told, re.DOTALL), told


def test_each_of_them_is_one_trace_without_orphans(redacted: tuple[Running, Scanned]) -> None:
    """Whatever was killed and done again: one trace, one root, each parent there, the keys on every span."""
    one, _ = redacted
    with one.database() as connection:
        keys = [
            key for (key,) in connection.execute("SELECT orchestration_id FROM orchestrations").fetchall()
        ]
    told = one.commands([("runs", "trace", key, "--json") for key in keys])
    for key, said in zip(keys, told, strict=True):
        spans = [span for trace in json.loads(said)["traces"] for span in trace["spans"]]
        own = [span for span in spans if span["orchestration_id"] == key]
        ids = {span["span_id"] for span in own}
        roots = [span["name"] for span in own if span["parent_span_id"] == ""]
        orphans = [span["name"] for span in own if span["parent_span_id"] not in {"", *ids}]
        assert (len(roots), roots[0] in {"ingestion", "rerun"}, orphans) == (1, True, []), (key, own)
        assert all(span["tenant_id"] and span["event_id"] for span in own)
