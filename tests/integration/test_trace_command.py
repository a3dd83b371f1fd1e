"""``runs trace`` over a real database: found by any id, drawn to scale, and clear about what is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.adapters.opentelemetry.exporters import TracingOptions, configure
from app.cli.trace_view import bar, duration
from app.data_plane.projections import read_model
from app.data_plane.replay.record import read_chain
from app.telemetry import messages, tracing
from app.telemetry.span_ids import Linked, LinkKind
from app.telemetry.tracing import Keys
from app.telemetry.waterfall import waterfall
from config import settings
from tests.commands import Ask, Say, asking, saying
from tests.recorded import HISTORIES, load, restore
from tests.recorded_spans import recorded_spans
from tests.unit.telemetry.test_waterfall import span

ISSUE, RELEASE = load(HISTORIES / "issue.json")
OTHER, _ = load(HISTORIES / "pull_request.json")
RUN = next(iter(ISSUE.runs))
ACTION = read_model(read_chain(ISSUE.chain)).actions[0].action_id
STEP = (
    "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, due_at, lease_seconds)"
    " VALUES (%s, 'demo', %s, 'agent_runs', '', '', now(), 30)"
)
SPAN = (
    "INSERT INTO spans SELECT %s, '1111111111111111', '', %s, 'e', %s, '', %s, 'worker', 'internal', %s, %s, 'ok', '',"
    " '{}', %s, '[]'"
)
START = 1_700_000_000_000_000_000
MS = 1_000_000


@pytest.fixture(scope="module")
def traced(module_database: str) -> str:
    """Two orchestrations; the trace of the first has a run, a failed attempt at a delivery, and a wait."""
    restore(module_database, *load(HISTORIES / "issue.json"))
    restore(module_database, *load(HISTORIES / "pull_request.json"))
    running = configure(TracingOptions("worker", module_database))
    keys = Keys("demo", "e-1", ISSUE.orchestration_id)
    root = tracing.record("ingestion", keys, parent=None, start_ns=START, end_ns=START + 4 * MS)
    run = Keys(*keys.named().values(), RUN)
    told = {"gen_ai.usage.input_tokens": 7}
    below = tracing.record(
        "invoke_agent triager", run, parent=root, start_ns=START + 10 * MS, end_ns=START + 40 * MS
    )
    tracing.record(
        "chat m", run, parent=below, start_ns=START + 20 * MS, end_ns=START + 30 * MS, attributes=told
    )
    wait = (START + 40 * MS, START + 100 * MS)
    tracing.record("approval_wait label", keys, parent=root, start_ns=wait[0], end_ns=wait[1])
    sent = {"interlock.target": "tickets", "interlock.action.id": ACTION, "error.type": "refused \x1b[2J"}
    tracing.record(
        "dispatch", keys, parent=root, start_ns=START + 99 * MS, end_ns=START + 100 * MS, attributes=sent
    )
    with messages.batch("agent_runs", 2, [root or ""]):
        pass
    running.shutdown()
    assert root is not None
    with psycopg.connect(module_database) as connection:
        connection.execute(
            "UPDATE orchestrations SET traceparent = %s WHERE orchestration_id = %s",
            [root, ISSUE.orchestration_id],
        )
        connection.execute(STEP, [RUN, ISSUE.orchestration_id])
        connection.execute(
            "INSERT INTO actions VALUES (%s, 'demo', %s, 0, '', '', '', 'confirmed', '', '', 0, '', '')",
            [ACTION, ISSUE.orchestration_id],
        )
    return module_database


@pytest.fixture
def say(
    traced: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    yield from saying(monkeypatch, capsys, traced, tmp_path, columns=120)


@pytest.fixture
def ask(say: Say) -> Ask:
    return asking(say)


def names(told: dict[str, object]) -> list[str]:
    traces = told["traces"]
    assert isinstance(traces, list)
    return [span["name"] for trace in traces for span in trace["spans"]]


WHOLE = ["ingestion", "invoke_agent triager", "chat m", "approval_wait label", "dispatch"]


def ids(url: str) -> dict[str, str]:
    """Every kind of id under which the trace is found."""
    with psycopg.connect(url) as connection:
        event, parent = connection.execute(
            "SELECT event_id, traceparent FROM orchestrations WHERE orchestration_id = %s",
            [ISSUE.orchestration_id],
        ).fetchone() or ("", "")
    return {
        "orchestration": ISSUE.orchestration_id,
        "its beginning": ISSUE.orchestration_id[:12],
        "without prefix": ISSUE.orchestration_id[4:14],
        "event": event,
        "run": RUN[:14],
        "action": ACTION,
        "trace": parent[3:35],
        "beginning of a trace": parent[3:15],
        "traceparent": parent,
    }


def test_it_is_found_by_every_id_that_somebody_may_have(ask: Ask, traced: str) -> None:
    for kind, name in ids(traced).items():
        code, told = ask("runs", "trace", name)
        assert (code, names(told)) == (0, WHOLE), kind


def test_the_waterfall_has_names_by_parent_times_bars_and_words(say: Say, traced: str) -> None:
    code, text = say("runs", "trace", ACTION)
    assert code == 0
    lines = text.splitlines()
    assert lines[0].endswith("5 spans, 100 ms")
    assert f"{ISSUE.orchestration_id} issue-triage, completed" in lines[1]
    run, chat, wait, sent = lines[3:7]
    assert run.split()[:5] == ["invoke_agent", "triager", "10", "ms", "30"]
    assert chat.startswith("    chat m")
    assert chat.endswith("7+0 tokens")
    assert "░" in wait
    assert "█" not in wait
    assert "at tickets, error: refused" in sent
    assert "\x1b" not in text
    assert "runs explain" in lines[-1]


def test_json_holds_the_spans_as_they_are_stored(ask: Ask, traced: str) -> None:
    _, told = ask("runs", "trace", ISSUE.orchestration_id)
    (trace,) = told["traces"]  # type: ignore[misc]
    stored = {one.span_id: one for one in recorded_spans(traced)}
    for one in trace["spans"]:
        assert (one["start_ns"], one["attributes"]) == (
            stored[one["span_id"]].start_ns,
            stored[one["span_id"]].attributes,
        )


@pytest.mark.parametrize(
    ("traceparent", "age", "why"),
    [
        (None, "0", "telemetry was off"),
        ("00-" + "c" * 32 + "-" + "d" * 16 + "-00", "0", "INTERLOCK_TRACES_PER_SECOND"),
        ("00-" + "c" * 32 + "-" + "d" * 16 + "-01", "0", "has arrived"),
        ("00-" + "c" * 32 + "-" + "d" * 16 + "-01", "80", "kept for 72 hours"),
    ],
)
def test_where_there_is_no_span_it_is_said_why_and_what_to_do(
    say: Say, ask: Ask, traced: str, traceparent: str | None, age: str, why: str
) -> None:
    with psycopg.connect(traced) as connection:
        connection.execute(
            "UPDATE orchestrations SET traceparent = %s, created_at = now() - make_interval(hours => %s)"
            " WHERE orchestration_id = %s",
            [traceparent, int(age), OTHER.orchestration_id],
        )
    code, told = ask("runs", "trace", OTHER.orchestration_id)
    error = told["error"]
    assert isinstance(error, dict)
    assert (code, error["code"]) == (1, "not_traced")
    assert why in error["what"]
    assert f"runs explain {OTHER.orchestration_id}" in error["remedy"]


@pytest.mark.parametrize(
    "name", ["orc_ffffffffffff", "e" * 32, "short", "nobody's event", "act_00000000", "run_00000000"]
)
def test_what_nothing_goes_by_is_an_error_with_a_remedy(ask: Ask, name: str) -> None:
    code, told = ask("runs", "trace", name)
    error = told["error"]
    assert isinstance(error, dict)
    assert (code, error["code"]) == (1, "unknown_trace")
    assert error["remedy"]


def test_two_things_that_begin_so_are_named(ask: Ask, traced: str) -> None:
    beginning = ISSUE.orchestration_id[4:14]
    with psycopg.connect(traced) as connection:
        connection.execute(
            "INSERT INTO spans SELECT %s, '01', '', 'demo', '', '', '', 'a', '', '', 0, 0, 'ok', '', '{}', '[]', '[]'",
            [beginning + "0" * 22],
        )
    code, told = ask("runs", "trace", beginning)
    with psycopg.connect(traced) as connection:
        connection.execute("DELETE FROM spans WHERE span_id = '01'")
    error = told["error"]
    assert isinstance(error, dict)
    assert code == 1
    assert "More than one" in error["what"]
    assert ISSUE.orchestration_id in error["remedy"]


def test_an_event_that_started_nothing_says_so(ask: Ask, traced: str) -> None:
    with psycopg.connect(traced) as connection:
        connection.execute(
            "INSERT INTO events (tenant_id, source, event_id, type, state, data_digest, raw_digest, event_digest,"
            " normaliser) VALUES ('demo', 's', 'unheard', 't', 'unrouted', '', '', '', '')"
        )
    error = ask("runs", "trace", "unheard")[1]["error"]
    assert isinstance(error, dict)
    assert "is unrouted" in error["what"]


def test_a_trace_of_several_orchestrations_is_shown_whole_by_its_id_and_by_part_by_theirs(
    ask: Ask, say: Say, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host's trace that several events came in; and a rerun, whose trace is another one of the same event."""
    restore(fresh_database, *load(HISTORIES / "issue.json"))
    restore(fresh_database, *load(HISTORIES / "pull_request.json"))
    running = configure(TracingOptions("worker", fresh_database))
    host = "00-" + "4" * 32 + "-" + "7" * 16 + "-01"
    for record in (ISSUE, OTHER):
        tracing.record(
            "ingestion", Keys("demo", "e", record.orchestration_id), parent=host, start_ns=1, end_ns=2
        )
    rerun = tracing.begin_trace(
        "rerun", Keys("demo", "e", OTHER.orchestration_id), links=[Linked(host, LinkKind.REPLAY)]
    )
    rerun.end()
    running.shutdown()
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", fresh_database)
    settings.load.cache_clear()
    assert names(ask("runs", "trace", "4" * 32)[1]) == ["ingestion", "ingestion"]
    assert names(ask("runs", "trace", ISSUE.orchestration_id)[1]) == ["ingestion"]
    assert names(ask("runs", "trace", OTHER.orchestration_id)[1]) == ["ingestion", "rerun"]
    text = say("runs", "trace", OTHER.orchestration_id)[1]
    assert text.count("trace ") >= 2
    assert "a sender's, or gone" in text


def test_a_beginning_that_was_lost_with_its_process_is_told_from_the_row(
    ask: Ask, say: Say, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was killed within a second of a commit exports nothing of it, and what comes after is no orphan."""
    restore(fresh_database, *load(HISTORIES / "issue.json"))
    root = "00-" + "5" * 32 + "-" + "8" * 16 + "-01"
    running = configure(TracingOptions("worker", fresh_database))
    tracing.record("decision", Keys("demo", "e", ISSUE.orchestration_id), parent=root, start_ns=1, end_ns=2)
    running.shutdown()
    with psycopg.connect(fresh_database) as connection:
        connection.execute("UPDATE orchestrations SET traceparent = %s", [root])
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", fresh_database)
    settings.load.cache_clear()
    assert sorted(names(ask("runs", "trace", ISSUE.orchestration_id)[1])) == ["decision", "ingestion"]
    text = say("runs", "trace", ISSUE.orchestration_id)[1]
    assert "its process was lost with its span" in text
    assert "a sender's, or gone" not in text


def test_the_messages_that_carried_it_are_shown_when_they_are_asked_for(
    ask: Ask, say: Say, traced: str
) -> None:
    """They belong to no tenant, and have traces of their own."""
    message, carried = "b" * 32, {"interlock.link": "carried_by"}
    links = json.dumps([{"trace_id": message, "span_id": "1" * 16, "attributes": carried}])
    with psycopg.connect(traced) as connection:
        connection.execute(
            SPAN, ["c" * 32, "demo", OTHER.orchestration_id, "decision", 20 * MS, 30 * MS, links]
        )
        connection.execute(SPAN, [message, "", "", "run interlock.deliver", 10 * MS, 40 * MS, "[]"])
    try:
        _, told = ask("runs", "trace", "c" * 32, "--messages")
        carriers = names({"traces": told["messages"]})
        assert (names(told), carriers) == (["ingestion", "decision"], ["run interlock.deliver"])
        assert ask("runs", "trace", "c" * 32)[1]["messages"] == []
        _, heading, line = say("runs", "trace", "c" * 32, "--messages")[1].split("\n\n")[1].partition("own\n")
        assert (heading, line.split()[:6]) == ("own\n", ["run", "interlock.deliver", "-10", "ms", "30", "ms"])
    finally:
        with psycopg.connect(traced) as connection:
            connection.execute("DELETE FROM spans WHERE trace_id = ANY(%s)", [[message, "c" * 32]])


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0"),
        (999, "0.999 µs"),
        (340_000, "340 µs"),
        (999_600, "1 ms"),
        (59_960_000_000, "59s"),
        (12_340_000, "12.3 ms"),
        (1_500_000_000, "1.5 s"),
        (123_000_000_000, "2m 3s"),
        (3 * 86_400 * 10**9 + 7_200 * 10**9, "3d 2h"),
        (-2_000_000, "-2 ms"),
    ],
)
def test_a_length_of_time_is_short(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_a_bar_is_drawn_to_scale_and_never_leaves_its_place() -> None:
    whole = waterfall(
        "a" * 32,
        [span("root", start=0, end=100), span("half", "root", 50, 100), span("dot", "root", 100, 100)],
    )
    assert [bar(line, whole, 10) for line in whole.lines] == ["█" * 10, " " * 5 + "█" * 5, " " * 9 + "█"]
