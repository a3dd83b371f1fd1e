"""Promise: docs/monitoring.md starts a Prometheus that knows the rules and finds what runs."""

from __future__ import annotations

import shlex
import shutil
import socket
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge

from app.adapters.prometheus.serving import Address, serve
from app.telemetry import metric_names
from config.settings import CHECKOUT
from tests.documented import blocks, commands
from tests.eventually import assert_eventually
from tests.prometheus import Prometheus, program, rules

PAGE = "docs/monitoring.md"


def test_its_command_starts_prometheus_with_the_rules_and_it_finds_a_process(tmp_path: Path) -> None:
    """As it stands there, in a checkout of the test's own; only the port is another."""
    shutil.copytree(CHECKOUT / "dashboards", tmp_path / "dashboards")
    (command,) = commands(PAGE)
    name, *options = shlex.split(command)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = [option.replace(":9090", f":{port}") for option in options]
    registry = CollectorRegistry()
    Gauge(metric_names.EXPORTER_UP, "As the exporter says it.", ["source"], registry=registry).labels(
        "redis"
    ).set(1)
    served = serve(registry, Address("127.0.0.1", 0), tmp_path / ".interlock", "metrics")
    try:
        with Prometheus([program(name), *ours], f"http://127.0.0.1:{port}", tmp_path) as running:
            assert running.rules() == {rule.name: "ok" for rule in rules()}
            assert_eventually(lambda: set(running.targets()) == {"metrics"}, what="the process is found")
            for expr in blocks(PAGE, "promql")[0].splitlines():
                running.now(expr)
    finally:
        served.close()


def test_it_names_every_page() -> None:
    """A page that nobody is told of is not opened."""
    told = (CHECKOUT / PAGE).read_text()
    titles = {file.stem.replace("_", " ") for file in (CHECKOUT / "dashboards" / "grafana").glob("*.json")}
    assert all(f"| {title}" in told for title in titles)
