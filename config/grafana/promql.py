"""The few shapes of PromQL that the dashboards are made of (prometheus.io/docs/prometheus/latest/querying)."""

from __future__ import annotations

INTERVAL = "$__rate_interval"
"""Grafana's own: at least four scrapes, so that a rate is never empty between two of them."""


def selector(metric: str, where: str = "") -> str:
    """A metric, with its matchers if there are any."""
    return f"{metric}{{{where}}}" if where else metric


def total(metric: str, *by: str, where: str = "", function: str = "sum") -> str:
    """What a gauge says now, of all processes together."""
    return f"{function}{_by(by)} ({selector(metric, where)})"


def rate(metric: str, *by: str, where: str = "") -> str:
    """How much a counter grew, per second, of all processes together."""
    return f"sum{_by(by)} (rate({selector(metric, where)}[{INTERVAL}]))"


def increase(metric: str, *by: str, where: str = "", window: str = "$__range") -> str:
    """How much a counter grew in all in ``window``."""
    return f"sum{_by(by)} (increase({selector(metric, where)}[{window}]))"


def count_rate(histogram: str, *by: str, where: str = "") -> str:
    """How often a histogram was told something, per second."""
    return rate(f"{histogram}_count", *by, where=where)


def quantile(of: float, histogram: str, *by: str, where: str = "") -> str:
    """The value that this share of a histogram's observations stays under, in seconds."""
    return f"histogram_quantile({of}, {rate(f'{histogram}_bucket', 'le', *by, where=where)})"


def share(part: str, whole: str) -> str:
    """``part`` of ``whole``, from 0 to 1; 0 while there is nothing of either. Both have the same labels."""
    return f"({part} or 0 * {whole}) / clamp_min({whole}, 1e-9)"


def else_zero(expression: str) -> str:
    """0 where nobody has said anything yet."""
    return f"{expression} or vector(0)"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
