"""Metrics: what happened to models' providers, as counters. Exporters are an adapter's business.

Until ``install`` is called, counting costs next to nothing. What is counted here is what no table holds; durable
facts are counted by whoever reads the tables.
"""

from __future__ import annotations

from opentelemetry.metrics import Meter, NoOpMeter

from app.telemetry import naming


class _Installed:
    """The process's counters."""

    def __init__(self, meter: Meter) -> None:
        self.changes = meter.create_counter(
            naming.METRIC_BREAKER_CHANGES,
            unit="{change}",
            description="Moves of circuit breakers, by where to.",
        )
        self.refusals = meter.create_counter(
            naming.METRIC_BREAKER_REFUSALS,
            unit="{question}",
            description="Questions that a circuit breaker did not let through.",
        )
        self.hops = meter.create_counter(
            naming.METRIC_PROVIDER_HOPS,
            unit="{hop}",
            description="Questions that went on from one provider to the next, or to the fallback.",
        )
        self.spans_dropped = meter.create_counter(
            naming.METRIC_SPANS_DROPPED,
            unit="{span}",
            description="Spans that no store took: it was away, or too many came at once.",
        )


_installed = _Installed(NoOpMeter("interlock"))


def install(meter: Meter) -> None:
    """Make ``meter`` the one that every counter of this process comes from."""
    global _installed
    _installed = _Installed(meter)


def breaker_changed(provider: str, model: str, to: str) -> None:
    """A breaker moved to ``to`` (``closed``, ``open``, ``half-open``); counted by the process that moved it alone."""
    _installed.changes.add(1, {naming.PROVIDER: provider, naming.MODEL: model, naming.TO: to})


def breaker_refused(provider: str, model: str, reason: str) -> None:
    """A question was not let through: ``open``, ``half-open`` or ``forced_open``."""
    _installed.refusals.add(1, {naming.PROVIDER: provider, naming.MODEL: model, naming.REASON: reason})


def hop(left: str, to: str, reason: str) -> None:
    """A question left the provider ``left`` for ``to`` (another provider, or ``fallback``) because of ``reason``."""
    _installed.hops.add(1, {naming.LEFT: left, naming.TO: to, naming.REASON: reason})


def spans_dropped(count: int) -> None:
    """So many spans were lost: their store was away, or their queue was full."""
    _installed.spans_dropped.add(count)
