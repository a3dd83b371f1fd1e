"""Everything that left the system, or could be looked at from outside: what the scan reads.

One place is left out by design: the payload store, which holds what came in as it came in. What shows its content to
people on purpose (``approvals show``, ``reviews show``) is told apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx2
import psutil

from tests.canaries.service import Running

PAYLOAD_STORE = "payloads"

_LISTS: Sequence[Sequence[str]] = (
    ("status",),
    ("runs", "list", "--limit", "1000"),
    ("runs", "list", "--limit", "1000", "--json"),
    ("actions", "list", "--limit", "1000", "--json"),
    ("approvals", "list", "--json"),
    ("reviews", "list", "--json"),
    ("dead-letters", "list", "--limit", "1000"),
    ("dead-letters", "list", "--limit", "1000", "--json"),
    ("audit", "replays", "--json"),
    ("audit", "verify", "--json"),
    ("providers", "history", "--json"),
    ("budgets", "list", "--json"),
    ("releases", "list", "--json"),
)
_OF_ONE = (
    ("runs", "show"),
    ("runs", "explain"),
    ("runs", "trace"),
    ("runs", "verify"),
)
EACH = 24
"""Of so many orchestrations everything that commands tell of one is read."""


def tables(one: Running) -> Iterator[tuple[str, bytes]]:
    """Every column of every table but the payload store, by table."""
    with one.database() as connection:
        names = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY 1"
        ).fetchall()
        for (name,) in names:
            if name != PAYLOAD_STORE:
                rows = connection.execute(f'SELECT * FROM "{name}"'.encode()).fetchall()
                yield f"table {name}", b"\n".join(_bytes(value) for row in rows for value in row)


def _bytes(value: object) -> bytes:
    if isinstance(value, (bytes, memoryview)):
        return bytes(value)
    return (
        value.encode("utf-8", "surrogatepass")
        if isinstance(value, str)
        else json.dumps(value, default=str).encode()
    )


def files(one: Running) -> Iterator[tuple[str, bytes]]:
    """Every file of the run folder but the servers' own data and the secrets: logs, anchors, targets of scrapes."""
    for path in sorted(one.home.rglob("*")):
        inside = path.relative_to(one.home)
        if path.is_file() and inside.parts[0] not in {"postgres", "redis", "secrets", "archive"}:
            yield f"file {_kind_of(inside)}", path.read_bytes()
    for server in ("postgres", "redis"):
        for path in sorted((one.home / server).glob("*.log")):
            yield f"file {server} log", path.read_bytes()


def _kind_of(path: Path) -> str:
    return str(path) if path.parts[0] == "logs" else path.parts[0]


def pages(one: Running) -> Iterator[tuple[str, bytes]]:
    """Flower's pages and its API, metrics, and the API's own answers."""
    login = _flower_login(one)
    with httpx2.Client(base_url=one.flower, auth=login, trust_env=False, timeout=30) as flower:
        tasks = flower.get("/api/tasks", params={"limit": 100_000})
        assert tasks.status_code == 200, tasks.status_code
        assert tasks.json(), "Flower shows no task"
        yield "flower api tasks", tasks.content
        for path in ("/", "/tasks", "/workers", "/broker", "/api/workers", "/api/queues/length", "/metrics"):
            yield f"flower {path}", flower.get(path).content
        for task in list(tasks.json())[:200]:
            yield "flower page of a task", flower.get(f"/task/{task}").content
    for file in sorted((one.home / "metrics" / "targets").glob("*.json")):
        for entry in json.loads(file.read_text()):
            for target in entry["targets"]:
                yield "metrics", httpx2.get(f"http://{target}/metrics", trust_env=False, timeout=30).content
    yield "openapi", httpx2.get(f"{one.api}/openapi.json", trust_env=False).content


def _flower_login(one: Running) -> tuple[str, str]:
    secret = one.home / "secrets" / "flower"
    user, _, password = secret.read_text().strip().rpartition(":")
    return user or "operator", password


def process_arguments(one: Running) -> Iterator[tuple[str, bytes]]:
    """The command line of every process of the service."""
    for process in one.processes().values():
        family: list[psutil.Process] = [process, *process.children(recursive=True)]
        for member in family:
            yield "process arguments", "\0".join(member.cmdline()).encode()


def told_by_commands(one: Running) -> Iterator[tuple[str, bytes]]:
    """What commands print of everything, and of a few orchestrations of each kind."""
    with one.database() as connection:
        some = connection.execute(
            "SELECT orchestration_id FROM orchestrations ORDER BY status, orchestration_id DESC"
        ).fetchall()
        letters = connection.execute(
            "SELECT dead_letter_id FROM dead_letters ORDER BY 1 DESC LIMIT 24"
        ).fetchall()
        replays = connection.execute("SELECT replay_id FROM replays ORDER BY 1 LIMIT 24").fetchall()
    step = max(1, len(some) // EACH)
    commands = [
        *_LISTS,
        *[(*command, key) for (key,) in some[::step] for command in _OF_ONE],
        *[(*command, key, "--json") for (key,) in some[::step] for command in _OF_ONE],
        *[("dead-letters", "show", key) for (key,) in letters],
        *[("audit", "replays", key) for (key,) in replays],
    ]
    for command, said in zip(commands, one.commands(commands), strict=True):
        yield f"command {' '.join(command[:2])}", said.encode()


def everything(one: Running, waited: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Every sink with what stands in it."""
    return [
        *[(f"redis {_queue_of(key)}", value) for key, value in waited.items()],
        *told_by_commands(one),
        *pages(one),
        *process_arguments(one),
        *tables(one),
        *files(one),
    ]


def _queue_of(key: str) -> str:
    return key if len(key) < 20 else key.partition("-meta-")[0][:40]
