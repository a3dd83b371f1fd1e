"""Guards: what breakers and fallbacks do is counted under stable names, and costs nothing until a meter is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from app.telemetry import metrics

Points = dict[str, list[tuple[dict[str, object], float]]]


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    metrics.install(provider.get_meter("interlock"))
    yield found
    metrics.install(NoOpMeter("interlock"))
    provider.shutdown()


def points(reader: InMemoryMetricReader) -> Points:
    """Every counter's attributes and value, by its name."""
    data = reader.get_metrics_data()
    assert data is not None
    found: Points = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = [
                    (dict(point.attributes or {}), point.value)  # type: ignore[union-attr]
                    for point in metric.data.data_points
                ]
    return found


def test_what_breakers_and_fallbacks_do_is_counted_by_provider_and_reason(
    reader: InMemoryMetricReader,
) -> None:
    """Dashboards and alerts rest on these names."""
    metrics.breaker_changed("acme", "large", "open")
    metrics.breaker_changed("acme", "large", "open")
    metrics.breaker_refused("acme", "large", "forced_open")
    metrics.hop("acme", "fallback", "breaker_open")
    assert points(reader) == {
        "interlock.breaker.changes": [({"provider": "acme", "model": "large", "to": "open"}, 2)],
        "interlock.breaker.refusals": [({"provider": "acme", "model": "large", "reason": "forced_open"}, 1)],
        "interlock.provider.hops": [({"left": "acme", "to": "fallback", "reason": "breaker_open"}, 1)],
    }


def test_nothing_is_counted_and_nothing_fails_without_a_meter(reader: InMemoryMetricReader) -> None:
    """A command of the command line counts into nowhere."""
    metrics.install(NoOpMeter("interlock"))
    metrics.breaker_changed("acme", "large", "open")
    metrics.hop("acme", "other", "provider_busy")
    assert reader.get_metrics_data() is None or not points(reader)
