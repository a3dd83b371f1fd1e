"""``python -m app metrics``: the exporter of durable facts, as its own process."""

from __future__ import annotations

import time

from app.adapters.prometheus.serving import Address, serve
from app.bootstrap import Telemetry, durable_facts
from app.cli.stopping import stopping
from config import settings

TICK_SECONDS = 0.2


def metrics() -> None:
    """Serve what PostgreSQL and Redis say as metrics, until SIGINT or SIGTERM. Reads them only when it is asked."""
    chosen = settings.load()
    Telemetry(chosen).start_logs("metrics")
    with stopping() as stop, durable_facts(chosen) as facts:
        served = serve(facts, Address(chosen.metrics_host, chosen.metrics_port), chosen.home, "metrics")
        try:
            while not stop():
                time.sleep(TICK_SECONDS)
        finally:
            served.close()
