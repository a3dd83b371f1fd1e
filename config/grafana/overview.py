"""The first page: is it well, and if not, where to look."""

from __future__ import annotations

from app.telemetry import metric_names as names
from config.grafana.panels import Dashboard, Panel, Row, Variable
from config.grafana.promql import INTERVAL, else_zero, quantile, rate, share, total
from config.grafana.rows import durations, figure, graph, notes

WORKFLOW = Variable("workflow", "Workflow", names.ORCHESTRATIONS_OPEN, "workflow")
OF_WORKFLOW = 'workflow=~"$workflow"'
UNSUCCESSFUL = 'status=~"failed|dead_lettered"'


def overview() -> Dashboard:
    """RED, queue age, and one picture of each thing that can go wrong."""
    return Dashboard(
        name="overview",
        title="Overview",
        description="Is it well, and if not, where to look. Every stage has a page of its own.",
        variables=(WORKFLOW,),
        rows=(
            _now(),
            _flow(),
            _queues(),
            _giving_up(),
            _decisions(),
            _machinery(),
            _record(),
            notes(
                "- `python -m app runs list` and `python -m app runs explain ID`: what happened to an event, and why",
                "- `python -m app dead-letters list`: what gave up, why, and what to do",
                "- `python -m app providers status`: models, their breakers, and why they opened",
                "- `python -m app status`: the processes of this machine",
                "- Runbooks: one page for each alert, in `dashboards/runbooks`",
            ),
        ),
    )


def circuit_open(*by: str) -> str:
    """The share of time that breakers were open: of all of them together, or of each."""
    of_all = f"avg by ({', '.join(by)})" if by else "avg"
    return f"{of_all} (rate({names.CIRCUIT_OPEN_SECONDS}[{INTERVAL}]))"


def open_breakers() -> str:
    """How many breakers let nobody ask."""
    return else_zero(total(names.CIRCUIT_STATE, where='state="open"'))


def budgets() -> Panel:
    """How full the fullest budgets are."""
    return graph(
        "Budget used",
        "Spent, presumed and reserved of each tenant's limit; at 1 its models are no longer asked.",
        (total(names.BUDGET_USED_RATIO, "tenant_id", "unit", function="max"), "{{tenant_id}} {{unit}}"),
        unit="percentunit",
        alarming=0.9,
        alerts=("BudgetNearlySpent",),
    )


def hops() -> Panel:
    """Who was left for whom."""
    return graph(
        "Fallback hops",
        "Questions that left a provider for the next one, or for the fallback, and why.",
        (rate(names.PROVIDER_HOPS, "left", "to", "reason"), "{{left}} to {{to}}: {{reason}}"),
        unit="reqps",
        alerts=("FallbacksHigh",),
    )


def circuits() -> Panel:
    """The circuit-open ratio, by breaker."""
    return graph(
        "Circuit-open ratio",
        "The share of time that a provider's model was not asked, because it had failed too often.",
        (circuit_open("provider", "model"), "{{provider}} {{model}}"),
        unit="percentunit",
        alarming=0.5,
        alerts=("CircuitOpen",),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            figure(
                "Workers up",
                "Worker processes that live.",
                else_zero(total(names.WORKER_UP)),
                alerts=("WorkerLost",),
            ),
            figure(
                "Oldest step due",
                "Of all queues; more than five minutes is too long.",
                total(names.QUEUE_AGE, function="max"),
                unit="s",
                alarming=300,
                alerts=("QueueOld",),
            ),
            figure(
                "Dead letters open",
                "Work that gave up, and that nobody has replayed or settled.",
                else_zero(total(names.DEAD_LETTERS_OPEN)),
                alarming=1,
                alerts=("DeadLettersArriving", "DeadLettersOpen"),
            ),
            figure(
                "Breakers open",
                "Providers' models that nobody asks now.",
                open_breakers(),
                alarming=1,
                alerts=("CircuitOpen",),
            ),
            figure(
                "Effects in doubt",
                "They may have been applied; only a person or the target can say.",
                else_zero(total(names.ACTIONS, where='state="in_doubt"')),
                alarming=1,
                alerts=("DeliveriesInDoubt",),
            ),
            figure(
                "Approvals waiting",
                "Actions that wait for a person's consent.",
                else_zero(total(names.APPROVALS_WAITING)),
                alerts=("ApprovalsWaiting",),
            ),
            figure(
                "Fullest budget",
                "The tenant's limit that is used most.",
                else_zero(total(names.BUDGET_USED_RATIO, function="max")),
                unit="percentunit",
                alarming=0.9,
                alerts=("BudgetNearlySpent",),
            ),
            figure(
                "Alerts firing",
                "Of Interlock's own rules.",
                else_zero('count(ALERTS{alertstate="firing", system="interlock"})'),
                alarming=1,
            ),
        ),
        height=4,
    )


def _flow() -> Row:
    closed = rate(names.ORCHESTRATIONS_CLOSED, "workflow", where=OF_WORKFLOW)
    unsuccessful = rate(names.ORCHESTRATIONS_CLOSED, "workflow", where=f"{OF_WORKFLOW}, {UNSUCCESSFUL}")
    return Row(
        "Orchestrations: rate, errors, duration",
        (
            graph(
                "Started",
                "Orchestrations a second, by workflow.",
                (rate(names.ORCHESTRATIONS_STARTED, "workflow", where=OF_WORKFLOW), "{{workflow}}"),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Failed or gave up",
                "Their share of all that ended. One in a hundred is what the alert's budget allows.",
                (share(unsuccessful, closed), "{{workflow}}"),
                unit="percentunit",
                alarming=0.06,
                alerts=("OrchestrationsFailing",),
            ),
            durations(
                "Duration from acceptance to the end",
                "Includes what waited for people.",
                names.ORCHESTRATION_DURATION,
                OF_WORKFLOW,
            ),
        ),
    )


def _queues() -> Row:
    return Row(
        "Queues",
        (
            graph(
                "Age of the oldest step that is due",
                "By queue; 0 when nothing waits.",
                (total(names.QUEUE_AGE, "queue", function="max"), "{{queue}}"),
                unit="s",
                alarming=300,
                alerts=("QueueOld", "QueueWithoutWorker"),
            ),
            graph(
                "Steps due and not claimed",
                "By queue.",
                (total(names.QUEUE_DEPTH, "queue"), "{{queue}}"),
                stacked=True,
            ),
            graph(
                "Wait before a claim, p95",
                "By queue: from when a step was due to when a worker took it.",
                (quantile(0.95, names.STEP_WAIT, "queue"), "{{queue}}"),
                unit="s",
            ),
        ),
    )


def _giving_up() -> Row:
    return Row(
        "What goes wrong",
        (
            graph(
                "Dead letters",
                "Work that gave up, a second, by queue and cause.",
                (rate(names.DEAD_LETTERS, "queue", "cause"), "{{queue}}: {{cause}}"),
                unit="reqps",
                alerts=("DeadLettersArriving",),
            ),
            circuits(),
            hops(),
        ),
    )


def _decisions() -> Row:
    return Row(
        "Decisions and budgets",
        (
            graph(
                "Decisions by release",
                "A second, by workflow, release and channel.",
                (
                    rate(names.DECISIONS, "workflow", "release", "channel", where=OF_WORKFLOW),
                    "{{workflow}} {{release}} {{channel}}",
                ),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Degraded decisions",
                "The share that rests on a fallback, because no model answered.",
                (
                    share(
                        rate(names.DECISIONS, "workflow", where=f'{OF_WORKFLOW}, degraded="true"'),
                        rate(names.DECISIONS, "workflow", where=OF_WORKFLOW),
                    ),
                    "{{workflow}}",
                ),
                unit="percentunit",
                alarming=0.1,
                alerts=("DecisionsDegraded",),
            ),
            budgets(),
        ),
    )


def _machinery() -> Row:
    return Row(
        "The machinery",
        (
            graph(
                "Celery tasks",
                "Messages a second, by what became of them. A message carries many steps.",
                *((else_zero(rate(metric)), word) for word, metric in _TASKS.items()),
                unit="reqps",
            ),
            durations(
                "Duration of a message",
                "From when a worker began it to its acknowledgement.",
                names.TASK_RUNTIME,
            ),
            graph(
                "Workers by name",
                "1 while a process lives; 0 for a while after it was lost.",
                (total(names.WORKER_UP, "hostname", function="max"), "{{hostname}}"),
                alerts=("WorkerLost", "ProcessDown"),
            ),
        ),
    )


def _record() -> Row:
    return Row(
        "The record and what is seen of it",
        (
            graph(
                "Age of the last anchor",
                "Since chain heads were last written outside the database; it grows while nothing is recorded, too.",
                (total(names.ANCHOR_AGE, function="min"), "anchor"),
                unit="s",
                alerts=("AnchorsStale",),
            ),
            graph(
                "Exporter",
                "Since it last counted every fact; its numbers are as old.",
                (total(names.EXPORTER_LAG, function="max"), "lag"),
                unit="s",
                alarming=300,
                alerts=("ExporterBehind",),
            ),
            graph(
                "Sources that the exporter reads",
                "1 while it can read PostgreSQL and Redis; what it says of one that is away is missing.",
                (total(names.EXPORTER_UP, "source", function="min"), "{{source}}"),
                alerts=("ExporterDown",),
            ),
            graph(
                "Spans dropped",
                "Spans a second that no store took.",
                (rate(names.SPANS_DROPPED), "dropped"),
                unit="reqps",
                alerts=("SpansDropped",),
            ),
        ),
    )


_TASKS = {
    "received": names.TASK_RECEIVED,
    "started": names.TASK_STARTED,
    "succeeded": names.TASK_SUCCEEDED,
    "failed": names.TASK_FAILED,
    "retried": names.TASK_RETRIED,
    "rejected": names.TASK_REJECTED,
}
