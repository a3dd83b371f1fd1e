"""The supervisor's promises: what dies starts again, what ends leaves nothing, one owner for a run folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.supervisor import service
from app.supervisor.children import Program
from app.supervisor.embedded import EmbeddedServers
from app.supervisor.errors import AlreadyRunningError, PortInUseError, ProgramFailedError
from app.supervisor.record import Recorded
from app.supervisor.run_folder import LONGEST_SOCKET_PATH, RunFolder
from app.supervisor.service import Service
from tests.eventually import assert_eventually
from tests.integration.a_service import plan


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def supervised(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The small service in a process of its own, ready."""
    process = _start(home, port)
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(30)
    service.down(RunFolder(home))


def _start(home: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.a_service", str(home), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == b"ready\n"
    return process


def _alive(entries: tuple[Recorded, ...]) -> list[str]:
    return [entry.name for entry in entries if entry.find() is not None]


def _execute(home: Path, statement: str) -> None:
    with psycopg.connect(RunFolder(home).database_url, autocommit=True) as connection:
        connection.execute(statement)


def test_a_new_start_after_kill_nine_finds_the_data_and_leaves_no_old_process(
    home: Path, port: int, supervised: subprocess.Popen[bytes]
) -> None:
    """Neither process nor lock outlives ``kill -9`` of the supervisor and a new start."""
    _execute(home, "CREATE TABLE kept AS SELECT 1")
    old = service.recorded(RunFolder(home)).processes
    assert {entry.name for entry in old} == {"supervisor", "postgresql", "redis", "listener", "stubborn"}

    supervised.kill()
    supervised.wait()
    assert "stubborn" in _alive(old), "the test needs a process that outlives its supervisor"
    again = _start(home, port)

    assert _alive(old) == []
    _execute(home, "SELECT * FROM kept")
    assert redis.Redis.from_url(RunFolder(home).redis_url).ping()
    again.terminate()
    assert again.wait(30) == 0


def test_sigterm_ends_every_process_and_leaves_no_socket_lock_or_record(
    home: Path, supervised: subprocess.Popen[bytes]
) -> None:
    """A stop is clean, even of a program that ignores SIGTERM."""
    folder = RunFolder(home)
    processes = service.recorded(folder).processes

    supervised.terminate()

    assert supervised.wait(30) == 0
    assert _alive(processes) == []
    assert service.recorded(folder).processes == ()
    assert not folder.redis_socket.exists()
    assert not (folder.postgres / "data" / "postmaster.pid").exists()
    with EmbeddedServers(home, durable=False):
        pass


def test_a_second_start_on_the_same_run_folder_is_refused_and_harms_nothing(
    home: Path, port: int, supervised: subprocess.Popen[bytes]
) -> None:
    """Two owners would fight over the same servers; the message names the one that is there."""
    with pytest.raises(AlreadyRunningError, match=str(supervised.pid)):
        Service(plan(home, port)).start()

    entries = service.recorded(RunFolder(home)).processes
    assert len(_alive(entries)) == len(entries) == 5
    assert redis.Redis.from_url(RunFolder(home).redis_url).ping()


def test_down_ends_a_service_that_another_terminal_owns(
    home: Path, supervised: subprocess.Popen[bytes]
) -> None:
    """``down`` asks the supervisor, and returns when everything is gone."""
    processes = service.recorded(RunFolder(home)).processes

    names = service.down(RunFolder(home))

    assert set(names) == {entry.name for entry in processes}
    assert supervised.wait(10) == 0
    assert _alive(processes) == []


def test_down_clears_up_after_a_killed_supervisor(home: Path, supervised: subprocess.Popen[bytes]) -> None:
    """With no supervisor to ask, ``down`` ends what it left."""
    processes = service.recorded(RunFolder(home)).processes
    supervised.kill()
    supervised.wait()

    assert "stubborn" in service.down(RunFolder(home))

    assert _alive(processes) == []
    assert service.down(RunFolder(home)) == []


def test_what_dies_is_started_again(home: Path, port: int) -> None:
    """Programs and servers alike; the record says how often."""
    with Service(plan(home, port)) as running:
        before = running.pids()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)

        def all_new() -> bool:
            running.tick()
            now = running.pids()
            return now.keys() == before.keys() and all(now[name] != before[name] for name in now)

        assert_eventually(all_new, what="every process is a new one")
        _execute(home, "SELECT 1")
        restarts = {entry.name: entry.restarts for entry in service.recorded(RunFolder(home)).processes}
        assert restarts["listener"] == restarts["stubborn"] == 1


def test_a_port_in_use_is_an_error_that_names_the_setting_and_starts_nothing(home: Path, port: int) -> None:
    """Found before anything is started, so that nothing has to be undone."""
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortInUseError) as refused:
        Service(plan(home, port)).start()

    assert str(port) in refused.value.what
    assert "THE_PORT" in refused.value.remedy
    assert not (home / "postgres").exists()


def test_a_failed_preparation_ends_the_start_with_its_last_words(home: Path, port: int) -> None:
    """A migration that fails must not be followed by workers on the old schema."""
    failing = Program("migrate", ("python", "-c", "raise SystemExit('the schema is from the future')"))
    running = Service(replace(plan(home, port, before=(failing,)), embed_postgresql=False))

    with pytest.raises(ProgramFailedError, match="the schema is from the future"):
        running.start()

    assert running.pids() == {}
    with EmbeddedServers(home, postgresql=False):
        pass


def test_a_run_folder_too_deep_for_a_unix_socket_gets_short_socket_folders(home: Path) -> None:
    """A checkout may be anywhere; sun_path holds about a hundred bytes (unix(7))."""
    deep = home / ("d" * 60) / ("e" * 60)
    with EmbeddedServers(deep, durable=False) as servers:
        sockets = servers.folder.postgres_sockets
        assert len(str(sockets)) < LONGEST_SOCKET_PATH
        psycopg.connect(servers.database_url).close()
        assert redis.Redis.from_url(servers.redis_url).ping()
    assert not sockets.exists()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(home: Path) -> None:
    """In containers pids repeat: the file of a dead server may name a live process that is not PostgreSQL."""
    with EmbeddedServers(home, durable=False, redis=False) as servers:
        assert servers.postgresql is not None
        servers.postgresql.kill()
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    _, *rest = pid_file.read_text().split("\n")
    owner = pid_file.stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=owner) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *rest]))

        with EmbeddedServers(home, durable=False, redis=False) as servers:
            psycopg.connect(servers.database_url).close()

        assert psutil.pid_exists(stranger.pid)
        stranger.kill()
