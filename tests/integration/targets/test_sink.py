"""Guards: the sink counts truly, because the demo's and the faults' claims about effects rest on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.eventually import assert_eventually


class Sinks:
    """Starts sinks as processes of their own and ends them."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.sink", *options], stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def kill_last(self) -> None:
        process = self.processes[-1]
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    started = Sinks()
    yield started
    for process in started.processes:
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def call(
    url: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], dict[str, object]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), json.loads(refused.read())


def effect(url: str, key: str, body: bytes = b'{"a":1}') -> tuple[int, dict[str, str]]:
    status, headers, _ = call(
        f"{url}/v1/effects/github.label", body, Idempotency_Key=key, Interlock_Tenant="demo"
    )
    return status, headers


def counts(url: str) -> tuple[object, object, object]:
    _, _, found = call(f"{url}/v1/counts")
    assert set(found) == {"received", "applied", "repeated"}
    return found["received"], found["applied"], found["repeated"]


def test_a_key_is_applied_once_and_its_repetition_is_told(sinks: Sinks) -> None:
    url = sinks.start()
    assert effect(url, "k1")[0] == 201
    status, headers = effect(url, "k1")
    assert (status, headers["idempotent-replayed"]) == (200, "true")
    assert effect(url, "k1", b'{"a":2}')[0] == 422
    assert effect(url, "k2")[0] == 201
    assert counts(url) == (4, 2, 1)


def test_of_many_simultaneous_requests_of_one_key_one_is_applied(sinks: Sinks) -> None:
    url = sinks.start("--delay-ms", "20")
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(status for status, _ in pool.map(lambda _: effect(url, "k"), range(16)))
    assert statuses == [200] * 15 + [201]
    assert counts(url) == (16, 1, 15)


def test_without_honouring_keys_each_request_is_applied(sinks: Sinks) -> None:
    url = sinks.start("--no-honours-keys")
    assert [effect(url, "k")[0] for _ in range(2)] == [201, 201]
    assert counts(url) == (2, 2, 0)


def test_the_first_requests_of_each_key_can_be_failed(sinks: Sinks) -> None:
    url = sinks.start("--fail-first", "2")
    assert [effect(url, "k")[0] for _ in range(4)] == [503, 503, 201, 200]
    assert effect(url, "other")[1]["retry-after"] == "0"
    assert counts(url) == (5, 1, 1)


@pytest.mark.parametrize("option", ["--honours-keys", "--no-honours-keys"])
def test_it_can_be_asked_what_became_of_a_key(sinks: Sinks, option: str) -> None:
    url = sinks.start(option, "--fail-first", "1")
    assert call(f"{url}/v1/keys/k")[0] == 404
    assert effect(url, "k")[0] == 503
    assert call(f"{url}/v1/keys/k")[0] == 404
    assert effect(url, "k")[0] == 201
    status, _, answer = call(f"{url}/v1/keys/k")
    assert (status, answer) == (200, {"applied": True})
    assert call(f"{url}/v1/keys/other")[0] == 404


def test_bad_requests_are_told_apart_and_not_counted(sinks: Sinks) -> None:
    url = sinks.start()
    tool = f"{url}/v1/effects/github.label"
    assert call(tool, b"{}")[2]["code"] == "no_key"
    assert call(tool, b"{", Idempotency_Key="k")[2]["code"] == "not_json"
    assert call(tool, b" " * 1_000_001, Idempotency_Key="k")[0] == 413
    assert call(f"{url}/nothing")[0] == 404
    assert counts(url) == (0, 0, 0)


def test_a_checker_can_read_the_effects_and_the_history_and_a_killed_sink_remembers_its_keys(
    sinks: Sinks, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    url = sinks.start("--history", str(history))
    effect(url, "k1")
    effect(url, "k2")
    _, _, listed = call(f"{url}/v1/effects?limit=1")
    assert [entry["key"] for entry in listed["effects"]] == ["k2"]  # type: ignore[attr-defined]
    sinks.kill_last()
    with history.open("a") as torn:
        torn.write('{"number": 3, "outc')
    again = sinks.start("--history", str(history))
    assert effect(again, "k1")[0] == 200
    assert counts(again) == (3, 2, 1)
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert [(line["key"], line["outcome"]) for line in lines] == [
        ("k1", "applied"),
        ("k2", "applied"),
        ("k1", "repeated"),
    ]
    assert lines[0]["tenant"] == "demo"


def test_a_sink_that_acts_and_then_hangs_keeps_the_effect_and_its_history_has_no_answer_to_it(
    sinks: Sinks, tmp_path: Path
) -> None:
    """What a crash between effect and answer looks like from outside."""
    history = tmp_path / "history.jsonl"
    url = sinks.start("--history", str(history), "--answers", "--act-then-hang-every", "2")
    assert effect(url, "k1")[0] == 201
    request = urllib.request.Request(f"{url}/v1/effects/t.t", b"{}", {"Idempotency-Key": "k2"})
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(request, timeout=0.3)
    assert effect(url, "k2", b"{}")[0] == 200
    assert_eventually(lambda: len(history.read_text().splitlines()) == 5, what="the last answer is told")
    sinks.kill_last()
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert [line["answered"] for line in lines if "answered" in line] == [1, 3]
    received = {line["number"]: line["at"] for line in lines if "number" in line}
    assert all(line["at"] >= received[line["answered"]] for line in lines if "answered" in line)
    again = sinks.start("--history", str(history), "--answers")
    assert counts(again) == (3, 2, 1)


def test_a_port_in_use_is_said_in_a_sentence(sinks: Sinks) -> None:
    port = sinks.start().rsplit(":", 1)[1]
    second = subprocess.run(
        [sys.executable, "-m", "app.cli.sink", "--port", port], capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr
