"""The real Prometheus: on loopback, with its storage in a test's folder, ended by its own process id.

``make prometheus`` puts its programs into the virtual environment where they are not on PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import pytest
import yaml

from config.settings import CHECKOUT
from tests.eventually import assert_eventually

RULES = CHECKOUT / "dashboards" / "prometheus"
UNPACKED = CHECKOUT / ".venv" / "prometheus" / "usr" / "bin"
INTERVAL = "5s"
"""What stands in for Grafana's interval of rates, beside scrapes of a second."""


def program(name: str) -> str:
    """Where ``prometheus`` or ``promtool`` is; skips where it is not, and fails there in CI."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    if found is None:
        reason = f"{name} is neither on PATH nor in .venv: `make prometheus` puts it there"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    return subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def substituted(expr: str, variables: Sequence[str] = ()) -> str:
    """An expression of a dashboard as Grafana sends it: every choice is all, the range is the last hour."""
    expr = expr.replace("$__rate_interval", INTERVAL).replace("$__range", "1h")
    for name in variables:
        expr = expr.replace(f"${name}", ".*")
    return expr


def in_seconds(rules: str) -> str:
    """The rules sixty times as quick: minutes of windows, of ``for`` and of thresholds (``5 * 60``) become seconds."""
    rules = re.sub(r"\b(\d+)h\b", lambda hours: f"{60 * int(hours[1])}m", rules)
    return re.sub(r"\b(\d+)m\b", r"\1s", rules).replace("* 60", "* 1")


@dataclass(frozen=True)
class Rule:
    """One rule of the files: an alert, or a recorded series."""

    name: str
    expr: str
    body: Mapping[str, Any]

    @property
    def is_alert(self) -> bool:
        """Whether it is one."""
        return "alert" in self.body


def rules() -> list[Rule]:
    """All of them, in the files' order."""
    files = [yaml.safe_load((RULES / name).read_text()) for name in ("recording.yml", "alerts.yml")]
    return [
        Rule(rule.get("alert") or rule["record"], rule["expr"], rule)
        for file in files
        for group in file["groups"]
        for rule in group["rules"]
    ]


class Prometheus:
    """It runs as long as the ``with`` block lasts, and answers by then.

    Args:
        command: its whole command line.
        url: where that makes it listen.
        folder: its working folder, where its log is, too.
    """

    def __init__(self, command: Sequence[str], url: str, folder: Path) -> None:
        self._command = command
        self._url = url
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, config: Path, folder: Path) -> Self:
        """One with this configuration, at a free port, whose storage is in the folder."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [
            *(
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
            ),
            *(f"--web.listen-address={address}", "--log.level=warn"),
        ]
        return cls(command, f"http://{address}", folder)

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            assert_eventually(self._is_ready, what="Prometheus is ready")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def alerts(self) -> dict[str, str]:
        """What each alert that is not silent is: ``pending`` or ``firing``, where it is both the latter."""
        found: dict[str, str] = {}
        for alert in sorted(self._get("alerts")["alerts"], key=lambda one: str(one["state"]), reverse=True):
            found[alert["labels"]["alertname"]] = alert["state"]
        return found

    def told(self, name: str) -> list[Mapping[str, str]]:
        """The annotations of one alert's instances, as somebody would read them."""
        return [
            one["annotations"] for one in self._get("alerts")["alerts"] if one["labels"]["alertname"] == name
        ]

    def now(self, expr: str) -> list[tuple[Mapping[str, str], float]]:
        """Labels and value of each series, as of now."""
        result = self._get("query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def series_since(self, expr: str, seconds: float) -> int:
        """How many series a panel that shows the last so many seconds has."""
        now = time.time()
        found = self._get("query_range", query=expr, start=str(now - seconds), end=str(now), step="1")
        return len(found["result"])

    def rules(self) -> dict[str, str]:
        """The health of each rule; one that was not evaluated yet is evaluated first."""
        found: dict[str, str] = {}

        def evaluated() -> bool:
            groups = self._get("rules")["groups"]
            found.update({rule["name"]: rule["health"] for group in groups for rule in group["rules"]})
            return bool(found) and "unknown" not in found.values()

        assert_eventually(evaluated, what="every rule is evaluated")
        return found

    def targets(self) -> dict[str, str]:
        """The health of what is scraped, by the service that its address was told of."""
        active = self._get("targets")["activeTargets"]
        return {target["labels"].get("service", target["scrapeUrl"]): target["health"] for target in active}

    def _get(self, what: str, **parameters: str) -> Any:
        answer = httpx2.get(f"{self._url}/api/v1/{what}", params=parameters, trust_env=False, timeout=10)
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    def _is_ready(self) -> bool:
        assert self._process is not None
        log = self._folder / "prometheus.log"
        assert self._process.poll() is None, log.read_text()
        try:
            return httpx2.get(f"{self._url}/-/ready", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
