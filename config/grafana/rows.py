"""Rows that every stage has: rate, errors and duration of its steps, and what waits for it."""

from __future__ import annotations

from app.data_plane.ports import Queue
from app.telemetry import metric_names as names
from config.grafana.panels import Panel, Query, Row, Unit
from config.grafana.promql import quantile, rate, share, total

SHARES = ("p50", 0.5), ("p95", 0.95), ("p99", 0.99)


def graph(
    title: str,
    description: str,
    *queries: tuple[str, str],
    unit: Unit = "short",
    alarming: float | None = None,
    stacked: bool = False,
    alerts: tuple[str, ...] = (),
) -> Panel:
    """Lines over time; each query is an expression and how its series are called."""
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        queries=tuple(Query(*query) for query in queries),
        unit=unit,
        alarming=alarming,
        stacked=stacked,
        alerts=alerts,
    )


def figure(
    title: str,
    description: str,
    expr: str,
    *,
    unit: Unit = "short",
    alarming: float | None = None,
    alerts: tuple[str, ...] = (),
) -> Panel:
    """One number."""
    return Panel(
        kind="stat",
        title=title,
        description=description,
        queries=(Query(expr, title),),
        unit=unit,
        alarming=alarming,
        alerts=alerts,
    )


def notes(*lines: str) -> Row:
    """What to type when a picture is not enough."""
    content = "\n".join(lines)
    panel = Panel(kind="text", title="From the command line", content=content)
    return Row("Looking further", (panel,), height=2 + len(lines))


def percentiles(histogram: str, where: str = "") -> tuple[tuple[str, str], ...]:
    """The median, and what the slowest twentieth and hundredth take at least."""
    return tuple((quantile(of, histogram, where=where), name) for name, of in SHARES)


def durations(title: str, description: str, histogram: str, where: str = "") -> Panel:
    """The percentiles of a histogram of seconds."""
    return graph(title, description, *percentiles(histogram, where), unit="s")


def steps_of(queue: Queue, what: str) -> Row:
    """Rate, errors and duration of a queue's steps; ``what`` one step is."""
    here = f'queue="{queue.value}"'
    steps = rate(names.STEPS, where=here)
    return Row(
        "Rate, errors, duration",
        (
            graph(
                "Steps ended",
                f"{what} a second, by how it ended: done, failed, or to be done again.",
                (rate(names.STEPS, "outcome", where=here), "{{outcome}}"),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Steps that failed or come again",
                "Their share of all steps. What comes again waits for its next attempt; what failed does not.",
                (share(rate(names.STEPS, where=f'{here}, outcome="failed"'), steps), "failed"),
                (share(rate(names.STEPS, where=f'{here}, outcome="again"'), steps), "again"),
                unit="percentunit",
            ),
            durations(
                "Duration of a step",
                "One step's share of its message: half are faster than p50, all but one in a hundred than p99.",
                names.STEP_DURATION,
                here,
            ),
        ),
    )


def waiting_for(queue: Queue) -> Row:
    """Depth and age of a queue, and how long its steps waited."""
    here = f'queue="{queue.value}"'
    return Row(
        "Waiting",
        (
            graph(
                "Steps by where they stand",
                "Due and not claimed; a worker is on them; waiting for their time, for people or for members.",
                (total(names.QUEUE_DEPTH, where=here), "waiting"),
                (total(names.QUEUE_LEASED, where=here), "started"),
                (total(names.QUEUE_LATER, where=here), "later"),
                alerts=("QueueWithoutWorker",),
            ),
            graph(
                "Age of the oldest step that is due",
                "The best single sign that a queue falls behind; 0 when nothing waits.",
                (total(names.QUEUE_AGE, where=here, function="max"), "oldest"),
                unit="s",
                alarming=300,
                alerts=("QueueOld",),
            ),
            durations(
                "Wait before a claim",
                "From when a step was due to when a worker took it.",
                names.STEP_WAIT,
                here,
            ),
        ),
    )
