"""Grafana's dashboards, made from the names of the metrics: ``make dashboards`` writes them to dashboards/grafana."""

from __future__ import annotations

from config.grafana.agent_runs import agent_runs
from config.grafana.overview import overview
from config.grafana.panels import Dashboard
from config.grafana.stages import aggregation, dispatch, ingestion, orchestration, replay


def dashboards() -> tuple[Dashboard, ...]:
    """The overview, and a page for each stage in an event's order."""
    return overview(), ingestion(), orchestration(), agent_runs(), aggregation(), dispatch(), replay()
