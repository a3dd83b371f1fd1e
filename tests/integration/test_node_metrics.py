"""A node's metrics over real processes: forked, replaced, killed; nothing that they counted is lost or doubled."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.adapters.prometheus import processes, serving
from app.adapters.prometheus.processes import NodeMetrics
from app.adapters.prometheus.serving import Address, remove_stale, serve
from app.bootstrap import Telemetry
from app.kernel.errors import TransientError
from app.telemetry import metric_names as names
from app.telemetry import metrics
from config.settings import CHECKOUT, Settings
from tests import metrics_truth
from tests.eventually import assert_eventually

HERE = Address("127.0.0.1", 0)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeMetrics]:
    found = NodeMetrics(tmp_path, "agent_runs", HERE)
    yield found
    found.shutdown()


def counted(node: NodeMetrics) -> dict[str, float]:
    """Events by state."""
    (family,) = [one for one in node.collect() if one.name == names.EVENTS.removesuffix("_total")]
    return {sample.labels["state"]: sample.value for sample in family.samples}


def in_a_child(count: int, *, end_with: int = 0) -> int:
    """A forked process counts and ends, by itself or killed; its number."""
    pid = os.fork()
    if pid == 0:
        for _ in range(count):
            metrics.event("accepted")
        if end_with:
            os.kill(os.getpid(), end_with)
        os._exit(0)
    try:
        assert_eventually(
            lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, within=20.0, what="the child has ended"
        )
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return pid


def test_what_children_counted_is_added_up_when_they_are_gone(node: NodeMetrics) -> None:
    """Also of one that was killed in the middle: each writes into files of its own."""
    metrics.event("accepted")
    in_a_child(3)
    in_a_child(4, end_with=signal.SIGKILL)
    metrics.event("accepted")
    assert counted(node) == {"accepted": 9.0}


def test_a_child_measures_though_a_thread_of_its_parent_was_measuring_when_it_was_forked(
    node: NodeMetrics,
) -> None:
    """A lock that is held at that moment is held for ever in the child, which would never end."""
    over = threading.Event()

    def measure() -> None:
        while not over.is_set():
            metrics.event("refused")

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        for _ in range(40):
            in_a_child(1)
    finally:
        over.set()
        thread.join()
    assert counted(node)["accepted"] == 40.0


def test_a_child_works_though_its_files_cannot_be_made(node: NodeMetrics, tmp_path: Path) -> None:
    """Somebody emptied the run folder: that costs figures, never work."""
    shutil.rmtree(tmp_path / "metrics")
    metrics.event("accepted")
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            metrics.event("accepted")
            metrics.step_ended("dispatch", "done", 0.2)
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    node.shutdown()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


def test_many_ended_children_are_folded_into_few_files_and_into_the_same_sums(
    node: NodeMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that replaces its children for weeks must not make a scrape slow."""
    monkeypatch.setattr(processes, "MOST_DEAD_FILES", 6)
    for _ in range(12):
        in_a_child(2)
        metrics.step_ended("dispatch", "done", 0.2)
    (folder,) = [one for one in (tmp_path / "metrics").iterdir() if one.name.startswith("agent_runs")]
    assert len(list(folder.glob("*.db"))) > 12
    assert counted(node) == {"accepted": 24.0}
    assert len(list(folder.glob("*.db"))) <= 4
    in_a_child(1)
    assert counted(node) == {"accepted": 25.0}


def test_a_run_folder_that_cannot_be_written_costs_the_reading_and_not_the_process(tmp_path: Path) -> None:
    file = tmp_path / "home"
    file.write_text("")
    assert Telemetry(Settings(home=file)).start_metrics("api") is None


def test_it_is_read_where_its_targets_file_says(node: NodeMetrics, tmp_path: Path) -> None:
    metrics.event("refused")
    node.begin_to_serve()
    (file,) = (tmp_path / "metrics" / "targets").glob("*.json")
    (target,) = json.loads(file.read_text())
    assert target["labels"] == {"service": "agent_runs"}
    text = httpx2.get(f"http://{target['targets'][0]}/metrics", trust_env=False).text
    assert metrics_truth.values(metrics_truth.parsed(text), names.EVENTS, "state") == {("refused",): 1.0}
    node.shutdown()
    assert list((tmp_path / "metrics" / "targets").glob("*")) == []


def test_a_port_that_is_taken_costs_neither_the_work_nor_the_reading(
    tmp_path: Path, node: NodeMetrics
) -> None:
    """Two workers of one host with the same setting: the second takes any free port, and its file says which."""
    node.begin_to_serve()
    (first,) = (tmp_path / "metrics" / "targets").glob("*.json")
    taken = int(json.loads(first.read_text())[0]["targets"][0].rpartition(":")[2])
    other = NodeMetrics(tmp_path, "dispatch", Address("127.0.0.1", taken))
    other.begin_to_serve()
    (second,) = (tmp_path / "metrics" / "targets").glob("dispatch*.json")
    assert json.loads(second.read_text())[0]["targets"] != [f"127.0.0.1:{taken}"]
    other.shutdown()


def test_nothing_listens_where_prometheus_cannot_be_told_of_it(tmp_path: Path, node: NodeMetrics) -> None:
    """The port would stay taken for as long as the process lives."""
    (tmp_path / "metrics" / "targets").write_text("not a folder")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TransientError, match="told"):
        serve(node, Address("127.0.0.1", port), tmp_path, "api")
    with socket.socket() as again, pytest.raises(ConnectionRefusedError):
        again.connect(("127.0.0.1", port))


def test_what_a_killed_process_left_is_removed_by_the_next_start(tmp_path: Path) -> None:
    """Prometheus would ask there for ever; what lives is left alone."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from app.adapters.prometheus.processes import NodeMetrics\n"
        "from app.adapters.prometheus.serving import Address\n"
        "NodeMetrics(Path(sys.argv[1]), 'killed', Address('127.0.0.1', 0)).begin_to_serve()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=CHECKOUT, check=False)
    assert len(list((tmp_path / "metrics" / "targets").glob("killed*"))) == 1
    node = NodeMetrics(tmp_path, "next", HERE)
    node.begin_to_serve()
    remove_stale(tmp_path)
    left = sorted(
        one.name.partition("-")[0] for one in (tmp_path / "metrics").rglob("*-*") if one.suffix != ".db"
    )
    node.shutdown()
    assert left == ["next", "next"]


def test_what_another_host_left_is_removed_when_nobody_has_touched_it_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that was killed and made anew: ProcessDown tells of it for a while, and not for ever."""
    monkeypatch.setattr(serving, "TOUCH_SECONDS", 0.0)
    targets = tmp_path / "metrics" / "targets"
    lost = [targets / "agent_runs-4f1d-7.json", tmp_path / "metrics" / "agent_runs-4f1d-7-18c"]
    just_lost = [targets / "agent_runs-9a0e-7.json", tmp_path / "metrics" / "agent_runs-9a0e-7-18d"]
    node = NodeMetrics(tmp_path, "agent_runs", HERE)
    node.begin_to_serve()
    (mine,) = targets.glob("*.json")
    (folder,) = (one for one in (tmp_path / "metrics").glob("agent_runs-*"))
    for path in (*lost, *just_lost):
        path.mkdir() if path.suffix == "" else path.write_text("[]")
    long_ago = time.time() - serving.ABANDONED_SECONDS - 60.0
    for path in lost:
        os.utime(path, (long_ago, long_ago))
    assert_eventually(lambda: not any(path.exists() for path in lost), what="both are removed")
    assert all(path.exists() for path in just_lost)

    a_while_ago = time.time() - 60.0
    for path in (mine, folder):
        os.utime(path, (a_while_ago, a_while_ago))
    assert_eventually(
        lambda: all(path.stat().st_mtime > a_while_ago + 1.0 for path in (mine, folder)),
        what="who serves is seen to",
    )

    # As when this host was asleep for longer than that.
    told = mine.read_text()
    mine.unlink()
    assert_eventually(mine.exists, what="who serves is told of again")
    assert mine.read_text() == told
    node.shutdown()
    assert not mine.exists()
